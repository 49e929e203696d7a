//! That an acknowledged write is on the disk: seen from outside, by a kill and by the system calls.
//!
//! INVARIANT (ack-durable). The process under test is this test binary again, told what to do by its environment.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use super::{open, put, serve};
use crate::store::{contract::TempDir, port::Key};

/// Where the process under test keeps its store.
const FOLDER: &str = "LEASEHOLD_TEST_FOLDER";
/// How many commits it makes.
const COMMITS: &str = "LEASEHOLD_TEST_COMMITS";
const CHILD: &str = "store::sled::tests::sync::commits_and_says_so";

fn numbered(number: u32) -> Key {
    [&[1][..], &number.to_be_bytes()].concat().into()
}

#[tokio::test]
#[ignore = "the process that the other tests watch"]
async fn commits_and_says_so() {
    let folder = std::env::var(FOLDER).unwrap();
    let commits = std::env::var(COMMITS).unwrap().parse().unwrap();
    let store = serve(Path::new(&folder));
    for number in 1..=commits {
        put(&store, &numbered(number), &number.to_be_bytes()).await;
        // In one call, past the capture of tests.
        let said = format!("acknowledged {number}\n");
        std::io::stdout().write_all(said.as_bytes()).unwrap();
    }
}

fn child(program: &[&str], folder: &Path, commits: u32) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut words = program.iter().map(std::ffi::OsStr::new).chain([
        this.as_os_str(),
        "--exact".as_ref(),
        CHILD.as_ref(),
        "--ignored".as_ref(),
    ]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .env(FOLDER, folder)
        .env(COMMITS, commits.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = TempDir::new();
    for round in 1..=3 {
        let mut running = child(&[], folder.path(), u32::MAX).spawn().unwrap();
        let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
        let said = lines.by_ref().map_while(Result::ok);
        let said = said.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<u32>().ok());
        let last = said.take(40 * round).last().unwrap();
        running.kill().unwrap();
        running.wait().unwrap();
        // Not in use any more, whatever is in the lock file.
        let sled = open(folder.path()).unwrap();
        for number in 1..=last {
            let value = sled.read(&numbered(number)).unwrap();
            assert_eq!(value.as_deref(), Some(&number.to_be_bytes()[..]));
        }
    }
}

/// Whether there is an `strace` here that may watch processes.
fn can_trace() -> bool {
    let mut trivial = Command::new("strace");
    trivial.args(["-f", "-o", "/dev/null", "true"]);
    let silent = trivial.stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

#[test]
fn every_acknowledgement_comes_after_a_sync_of_the_log() {
    const ASKED: u32 = 8;
    if !can_trace() {
        return;
    }
    let folder = TempDir::new();
    let calls = traced(folder.path(), ASKED);
    let log = format!("<{}/journal/", folder.path().display());
    let mut seen = Seen::default();
    for call in calls.lines() {
        seen.take(call, &log);
    }
    assert_eq!(seen.acknowledged, ASKED);
    // A new file is durable once the folder with its name in it is.
    let until = calls.find("acknowledged 1").unwrap();
    for (file, below) in [
        ("store/db", "/store"),
        ("journal/1", "/journal"),
        ("MARK", ""),
    ] {
        let opened = format!("{}/{file}\"", folder.path().display());
        let from = calls.find(&opened).unwrap();
        let made = format!("<{}{below}>)", folder.path().display());
        let synced = calls[from..until]
            .lines()
            .any(|call| call.contains("fsync(") && call.contains(&made));
        assert!(synced, "{file} in {}", &calls[..until]);
    }
}

#[test]
fn what_a_killed_process_left_to_the_system_is_synced_before_it_is_built_upon() {
    if !can_trace() {
        return;
    }
    let folder = TempDir::new();
    for _ in 0..2 {
        // In the tree, and so no group of the journal makes the start sync anything.
        let sled = open(folder.path()).unwrap();
        sled.write_first(vec![(numbered(0), vec![7])]).unwrap();
    }
    let calls = traced(folder.path(), 1);
    let at = |file: &str| format!("<{}/{file}>", folder.path().display());
    let first = |wanted: &dyn Fn(&str) -> bool| calls.lines().position(wanted);
    let log = at("store/db");
    let is_synced = |line: &str| line.contains("sync(") && line.contains(&format!("{log})"));
    let synced = first(&is_synced).expect("never synced");
    let built_upon = [
        // Its recovery writes after the last group that it can read.
        format!("{log}, \""),
        // sled's snapshot says where in its log the pages are.
        "generating\"".to_owned(),
        // The journal is written over from its start.
        format!("{}, ", at("journal/0")),
    ];
    for one in built_upon {
        let used = first(&|line| line.contains(&one) && !line.contains("fadvise64("));
        assert!(synced < used.unwrap(), "{one} in {calls}");
    }
    // A sync that failed before left pages in memory that no disk has: what is read is read from the disk.
    for file in ["store/db", "journal/0", "journal/1"] {
        let file = at(file);
        let synced = |line: &str| line.contains("sync(") && line.contains(&file);
        let dropped = |line: &str| {
            line.contains("fadvise64(") && line.contains(&file) && line.contains("DONTNEED")
        };
        let read = |line: &str| line.contains("pread64(") && line.contains(&file);
        let dropped = first(&dropped).unwrap_or_else(|| panic!("{file} is never dropped: {calls}"));
        assert!(first(&synced).unwrap() < dropped, "{file} in {calls}");
        assert!(
            first(&read).is_none_or(|read| dropped < read),
            "{file} in {calls}"
        );
    }
}

/// The system calls of a process that opens a folder and makes commits.
fn traced(folder: &Path, commits: u32) -> String {
    let above = TempDir::new();
    let trace = above.path().join("trace");
    let strace = [
        "strace",
        "-f",
        "-y",
        "-e",
        "trace=openat,write,pwrite64,pread64,pwritev,fsync,fdatasync,fadvise64",
        "-o",
        trace.to_str().unwrap(),
    ];
    let ended = child(&strace, folder, commits).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    fs::read_to_string(trace).unwrap()
}

/// What the trace told so far of the log file.
#[derive(Default)]
struct Seen {
    writes: u32,
    /// Writes before the sync that is under way, by the thread that carries it out.
    syncing: Option<(String, u32)>,
    synced: u32,
    synced_at_last: u32,
    acknowledged: u32,
}

impl Seen {
    /// One line: `pid call(…) = result`, `pid call(… <unfinished ...>` or `pid <... call resumed>…) = result`.
    fn take(&mut self, call: &str, log: &str) {
        let (thread, call) = call.split_once(char::is_whitespace).unwrap();
        let call = call.trim_start();
        if call.starts_with("pwrite") && call.contains(log) {
            self.writes += 1;
        }
        if call.starts_with("fdatasync(") && call.contains(log) {
            self.syncing = Some((thread.to_owned(), self.writes));
        }
        let ends = call.contains("fdatasync") && !call.contains("<unfinished");
        if ends
            && call.ends_with("= 0")
            && let Some((_, covered)) = self.syncing.take_if(|(by, _)| by == thread)
        {
            self.synced = covered;
        }
        if call.starts_with("write(1") && call.contains("acknowledged") {
            assert_eq!(
                self.synced, self.writes,
                "acknowledged before it was synced"
            );
            assert!(self.synced > self.synced_at_last, "acknowledged unwritten");
            self.synced_at_last = self.synced;
            self.acknowledged += 1;
        }
    }
}
