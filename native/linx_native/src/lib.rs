//! The NIFs of `LinxNative.Native`: everything that is not of the drop-in.

mod conn;
mod mount;

nif_entry::init!(c"Elixir.LinxNative.Native", |env| {
    conn::register(env) && mount::register(env)
});
