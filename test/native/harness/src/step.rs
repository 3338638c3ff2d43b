//! `step`: runs a command whose system calls can be held, and then continued or made to fail by a test.
//!
//! A test writes lines to the socket CONTROL. When it closes the socket, all held system calls continue.
//!
//! * `hold NAME[,NAME...]`: holds these system calls from now on, and reports each as `held ID NAME TID`. `hold` without names: holds no
//!   further ones. Answer: `ok`.
//! * `continue ID`: continues a held system call. `fail ID ERRNO`: makes it fail. Answer: `ok`, or `gone` if its task has ended.

#![allow(unsafe_code, reason = "seccomp_unotify(2)")]

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use libc::{c_int, c_long, seccomp_notif, seccomp_notif_resp, sock_filter};

use crate::calls::{Call, call};
use crate::seccomp::{Rule, filter, install};
use crate::{Outcome, errno};

/// Runs `command`, whose system calls in `names` can be held, and ends with its exit status.
pub(crate) fn run(names: &str, control: &str, command: &[&str]) -> Outcome {
    let names = parse(names)?;
    let control = UnixListener::bind(control)?;
    let rules: Vec<Rule> = names.iter().map(to_rule).collect();
    let filter = filter(&rules)?;
    let (tell, told) = mpsc::channel();
    let (mut child, supervisor) = thread::scope(|scope| {
        // On a thread of its own, because the filter must apply to the command, but not to the threads that answer here.
        let starter = scope.spawn(|| start(&filter, command, tell));
        let supervisor = told.recv().map(Supervisor::start);
        let child = starter.join().map_err(|_| "step: a panic")??;
        Ok::<_, Box<dyn Error>>((child, supervisor?))
    })?;
    thread::spawn(move || supervisor.serve(&control));
    let status = child.wait()?;
    std::process::exit(exit_code(status))
}

type Named = (String, Call);

fn parse(names: &str) -> Result<Vec<Named>, String> {
    let names = names.split(',').filter(|name| !name.is_empty());
    names
        .map(|name| Ok((name.to_owned(), call(name)?)))
        .collect()
}

fn to_rule((_, call): &Named) -> Rule {
    Rule {
        call: *call,
        action: libc::SECCOMP_RET_USER_NOTIF,
    }
}

fn start(
    filter: &[sock_filter],
    command: &[&str],
    tell: mpsc::Sender<OwnedFd>,
) -> io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let listener = install(filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    let listener = RawFd::try_from(listener).map_err(io::Error::other)?;
    // SAFETY: a new descriptor that nobody else has. It is close-on-exec.
    let _ = tell.send(unsafe { OwnedFd::from_raw_fd(listener) });
    Command::new(program).args(arguments).spawn()
}

/// Returns the exit status as a shell does.
fn exit_code(status: ExitStatus) -> c_int {
    let signal = || status.signal().unwrap_or_default().saturating_add(128);
    status.code().unwrap_or_else(signal)
}

struct Supervisor {
    listener: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    to_hold: Vec<Named>,
    held: Vec<u64>,
    test: Option<UnixStream>,
}

impl Supervisor {
    /// Starts to answer the notifications of `listener`, as long as this program runs.
    fn start(listener: OwnedFd) -> &'static Self {
        let supervisor = Box::leak(Box::new(Self {
            listener,
            state: Mutex::default(),
        }));
        thread::spawn(|| supervisor.watch());
        supervisor
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds system calls, or lets them pass.
    fn watch(&self) {
        loop {
            // Fails when the task was killed before it was looked at.
            let Ok(made) = self.receive() else { continue };
            let mut state = self.state();
            let number = c_long::from(made.data.nr);
            let named = |(_, call): &&Named| call.matches(number, &made.data.args);
            match state.to_hold.iter().find(named) {
                Some((name, _)) => {
                    let line = format!("held {} {name} {}", made.id, made.pid);
                    state.held.push(made.id);
                    state.say(&line);
                }
                None => {
                    self.answer(made.id, None);
                }
            }
        }
    }

    /// Runs the commands of the tests, one connection after the other.
    fn serve(&self, control: &UnixListener) -> io::Result<()> {
        loop {
            let (test, _) = control.accept()?;
            let lines = BufReader::new(test.try_clone()?).lines();
            self.state().test = Some(test);
            for line in lines.map_while(Result::ok) {
                let mut state = self.state();
                let answer = self.obey(&mut state, &line);
                match answer {
                    Ok(answer) => state.say(answer),
                    Err(error) => state.say(&format!("error: {error}")),
                }
            }
            let State { held, .. } = std::mem::take(&mut *self.state());
            for id in held {
                self.answer(id, None);
            }
        }
    }

    fn obey(&self, state: &mut State, line: &str) -> Result<&'static str, Box<dyn Error>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answered = match words.as_slice() {
            ["hold", names @ ..] => {
                state.to_hold = parse(&names.concat())?;
                true
            }
            ["continue", id] => self.answer(id.parse()?, None),
            ["fail", id, errno] => self.answer(id.parse()?, Some(errno::parse(errno)?)),
            _ => return Err("what is that?".into()),
        };
        Ok(if answered { "ok" } else { "gone" })
    }

    fn receive(&self) -> io::Result<seccomp_notif> {
        // The kernel wants it zeroed.
        let mut made = MaybeUninit::<seccomp_notif>::zeroed();
        let request = libc::SECCOMP_IOCTL_NOTIF_RECV;
        // SAFETY: the kernel writes one notification.
        let result = unsafe { libc::ioctl(self.listener.as_raw_fd(), request, made.as_mut_ptr()) };
        match result {
            // SAFETY: the kernel wrote it, and it is nothing but integers.
            0 => Ok(unsafe { made.assume_init() }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Answers a notification. Reports whether the task still existed and was not answered before.
    fn answer(&self, id: u64, errno: Option<c_int>) -> bool {
        let answer = seccomp_notif_resp {
            id,
            val: 0,
            error: errno.map_or(0, c_int::wrapping_neg),
            // Nothing is decided by what the call points to, so it does not matter that it can change meanwhile.
            flags: match errno {
                None => libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
                Some(_) => 0,
            },
        };
        let request = libc::SECCOMP_IOCTL_NOTIF_SEND;
        // SAFETY: the kernel reads one answer.
        (unsafe { libc::ioctl(self.listener.as_raw_fd(), request, &raw const answer) }) == 0
    }
}

impl State {
    fn say(&self, line: &str) {
        // A test that went away is noticed where its lines are read.
        let _ = self
            .test
            .as_ref()
            .map(|mut test| test.write_all(format!("{line}\n").as_bytes()));
    }
}
