//! The NIFs of `LinxNative.Native`: connections and mounts by descriptor.

mod conn;
mod mount;

nif_entry::init!(c"Elixir.LinxNative.Native", |env| {
    conn::register(env) && mount::register(env)
});
