//! Commands that a test starts: what they print, and how they end.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::support::wait;

/// The longest that a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// It failed, said so in these words, and did not panic.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.stderr.contains("error: "), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} in {self:?}");
        }
        assert_no_panic(&self.stderr);
    }
}

#[track_caller]
pub fn assert_no_panic(stderr: &str) {
    for line in stderr.lines() {
        assert!(
            !line.contains("panicked at") && !line.contains("RUST_BACKTRACE"),
            "{stderr}"
        );
    }
}

/// What a pipe has given so far, and the thread that reads it to its end.
struct Collected(Arc<Mutex<String>>, JoinHandle<()>);

impl Collected {
    fn of(from: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let into = text.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let mut text = into.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        Self(text, reader)
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// A command that was started, with what it prints.
pub struct Started {
    pub child: Child,
    stdout: Collected,
    stderr: Collected,
}

impl Started {
    pub fn new(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = Collected::of(child.stdout.take().unwrap());
        let stderr = Collected::of(child.stderr.take().unwrap());
        Self {
            child,
            stdout,
            stderr,
        }
    }

    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ended {
        let code = wait(&mut self.child).code();
        self.ended(code)
    }

    fn ended(&self, code: Option<i32>) -> Ended {
        // The readers see the end of both pipes a moment after the process is gone.
        let begun = Instant::now();
        while !(self.stdout.1.is_finished() && self.stderr.1.is_finished()) {
            assert!(begun.elapsed() < PATIENCE, "somebody else holds its pipes");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ended {
            code,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }

    /// Waits for `found` to see what it looks for, or for the end of the process.
    pub fn until<T>(mut self, found: impl Fn(&Self) -> Option<T>) -> Result<(Self, T), Ended> {
        let begun = Instant::now();
        loop {
            if let Some(found) = found(&self) {
                return Ok((self, found));
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(self.ended(status.code()));
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "neither serving nor ended: {}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ended {
    Started::new(command).end()
}
