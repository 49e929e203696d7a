//! What Linux tells of a process: its CPU time and its memory.

use std::{io, path::Path};

/// Clock ticks in a second, as `/proc` counts them for programs.
const TICKS: f64 = 100.0;

/// A process by its id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts(pub(super) u32);

impl Facts {
    /// This very process: the generator.
    pub(super) fn own() -> Self {
        Self(std::process::id())
    }

    /// Seconds of CPU used so far, in steps of 10 ms.
    pub(super) fn cpu_seconds(self) -> io::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        cpu_ticks(&stat)
            .map(|ticks| ticks / TICKS)
            .ok_or_else(|| malformed("stat"))
    }

    /// Resident memory, in bytes.
    pub(super) fn rss_bytes(self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0))?;
        rss_kib(&status)
            .map(|kib| kib * 1024)
            .ok_or_else(|| malformed("status"))
    }
}

/// Bytes on disk of all files below a folder: blocks in use, not lengths.
pub(super) fn disk_bytes(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(about) if about.is_dir() => open.push(entry.path()),
                Ok(about) => bytes += about.blocks() * 512,
                // The store removes files of its own while this looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(bytes)
}

/// User and system ticks: the 14th and 15th field, the second of which is a name that may hold anything.
fn cpu_ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some(next()? + next()?)
}

fn rss_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn malformed(what: &str) -> io::Error {
    io::Error::other(format!("/proc/…/{what} is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_found_behind_any_name() {
        let stat = "7 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14";
        assert_eq!(cpu_ticks(stat), Some(300.0));
        assert_eq!(cpu_ticks("7 (a"), None);
        assert_eq!(rss_kib("Name:\tx\nVmRSS:\t  1234 kB\n"), Some(1234));
        assert_eq!(rss_kib("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(Facts::own().rss_bytes().unwrap() > 1024 * 1024);
        assert!(Facts::own().cpu_seconds().unwrap() >= 0.0);
    }
}
