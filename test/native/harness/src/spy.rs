//! `spy`: a process of a container that looks for processes which are not the container's, and reads what it can of them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Outcome;
use crate::lifetime::{die_with_parent, say, until_dismissed};

/// The network tables in `/proc/<pid>/net` that it reads.
const TABLES: [&str; 4] = ["dev", "route", "tcp", "unix"];

/// How often it looks at a pid before it asks for the next one, because the process may have come and gone meanwhile.
const LOOKS: usize = 32;

/// Reads until dismissed what processes show that have come since, then says of how many it saw anything, the command line,
/// and the memory, how many network tables it read, and the links and the longest command line that it read:
/// `processes N cmdlines N memories N tables N links NAME,... cmdline HEXADECIMAL`.
///
/// Only the memory takes a right to trace. `/proc` has to be that of its PID namespace, in which nobody else starts
/// processes.
pub(crate) fn run() -> Outcome {
    die_with_parent()?;
    let mut seen = Seen::default();
    last_pid()?;
    say("ready")?;
    let dismissed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = until_dismissed();
            dismissed.store(true, Ordering::Relaxed);
        });
        // The thread above has a pid, too.
        let mut pid = last_pid()?.saturating_add(1);
        while !dismissed.load(Ordering::Relaxed) {
            for _ in 0..LOOKS {
                seen.look_at(pid);
            }
            let next = last_pid()?.saturating_add(1);
            while pid < next {
                seen.look_at(pid);
                pid = pid.saturating_add(1);
            }
        }
        Ok::<_, io::Error>(())
    })?;
    say(&format!(
        "processes {} cmdlines {} memories {} tables {} links {} cmdline {}",
        seen.processes.len(),
        seen.cmdlines.len(),
        seen.memories.len(),
        seen.tables.len(),
        Vec::from_iter(seen.links).join(","),
        String::from_iter(seen.cmdline.iter().map(|byte| format!("{byte:02x}")))
    ))
}

/// Returns the last pid of this PID namespace, from `/proc/loadavg`, which every process may read.
fn last_pid() -> io::Result<u64> {
    let loadavg = fs::read_to_string("/proc/loadavg")?;
    let last = loadavg.split_whitespace().last().unwrap_or_default();
    last.parse().map_err(io::Error::other)
}

#[derive(Default)]
struct Seen {
    processes: BTreeSet<u64>,
    cmdlines: BTreeSet<u64>,
    memories: BTreeSet<u64>,
    tables: BTreeSet<(u64, &'static str)>,
    links: BTreeSet<String>,
    cmdline: Vec<u8>,
}

impl Seen {
    fn look_at(&mut self, pid: u64) {
        let Ok(cmdline) = fs::read(format!("/proc/{pid}/cmdline")) else {
            return;
        };
        self.processes.insert(pid);
        // Empty for a process that has given up its memory.
        if !cmdline.is_empty() {
            self.cmdlines.insert(pid);
            // One that is read while the process ends is cut.
            if cmdline.len() > self.cmdline.len() {
                self.cmdline = cmdline;
            }
        }
        if File::open(format!("/proc/{pid}/mem")).is_ok() {
            self.memories.insert(pid);
        }
        for table in TABLES {
            let Ok(content) = fs::read_to_string(format!("/proc/{pid}/net/{table}")) else {
                continue;
            };
            if content.is_empty() {
                continue;
            }
            self.tables.insert((pid, table));
            if table == "dev" {
                let names = content.lines().filter_map(|line| line.split_once(':'));
                self.links
                    .extend(names.map(|(name, _)| name.trim().to_owned()));
            }
        }
    }
}
