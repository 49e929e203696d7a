//! Exports of a log that retention works on: what it removed is told, and nothing that is left is lost.

use super::{audit::*, *};
use crate::{
    audit::{
        checkpoint::Checkpoint,
        export::{self, Extract, Header, Item, Range, Verified, Writer},
        query::{AuditFilter, Numbered},
        removal::RANGE,
    },
    engine::{Export, ExportHistory},
};

pub(super) fn readable(found: Numbered) -> Result<String> {
    Ok(format!("{{\"sequence\":{}}}", found.sequence))
}

pub(super) async fn lines(
    mut extract: Extract,
    mut writer: Writer,
    out: &mut Vec<u8>,
) -> Result<u64> {
    loop {
        let items: Vec<Item> = extract.next().await?;
        if items.is_empty() {
            let records = writer.records();
            writer.end(out)?;
            return Ok(records);
        }
        for item in items {
            writer.item(item, readable, out)?;
        }
    }
}

impl World {
    async fn begun(&self, asked: ExportHistory) -> Result<Export> {
        let prepared = self.engine.prepare_export(&self.call(), asked).await?;
        // Proven anew, as the server does.
        self.engine.export(&self.call(), prepared).await
    }

    pub(super) async fn exported(&self, after: u64) -> Result<String> {
        let asked = ExportHistory {
            format: "ndjson",
            proven: true,
            after,
            ..ExportHistory::default()
        };
        let export = self.begun(asked).await?;
        let mut out = Vec::new();
        let writer = export.writer(&self.engine, &mut out)?;
        lines(export.extract, writer, &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    pub(super) fn verified(&self, text: &str) -> std::result::Result<Verified, export::Refused> {
        let key = self.engine.keyring.audit_key().public_key();
        export::verify(
            &mut export::Plain::new(text.as_bytes()),
            key,
            &[],
            &readable,
        )
    }

    /// An export behind this record is refused, and the first one that is there named.
    async fn refused(&self, after: u64) {
        let refused = self.exported(after).await.err().unwrap();
        assert_eq!(refused.code(), Code::InvalidParameter, "{refused}");
        let first = format!("the first record that is there is {}", 2 * RANGE + 1);
        assert!(refused.message().contains(&first), "{refused}");
        assert!(refused.message().contains("`after`"), "{refused}");
    }
}

// INVARIANT (audit-tamper): a gap hides nothing that retention removed without saying so.
#[tokio::test]
async fn what_was_removed_is_told_and_the_rest_can_still_be_exported() {
    let world = World::new(retention(Some(1), Some(10))).await;
    let early = world.write(3_000).await;
    world.write(3 * RANGE).await;
    let none = world.exported(3 * RANGE - 9).await.unwrap();
    assert_eq!(world.verified(&none).unwrap().removed, 0);
    world.pass(2 * DAY);
    let removed = world.retain_all().await;
    let text = world.exported(0).await.unwrap();
    let verified = world.verified(&text).unwrap();
    assert_eq!(verified.removed, removed);
    assert!(verified.hidden >= removed);
    // Of the second range alone.
    let second = world.exported(RANGE).await.unwrap();
    let second = world.verified(&second).unwrap().removed;
    assert!((1..removed).contains(&second), "{second} of {removed}");
    // The line is signed like any other.
    let without: String = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("{\"type\":\"removed\""))
        .collect();
    assert!(without.len() < text.len());
    assert!(world.verified(&without).is_err());
    let less = text.replacen(
        "\"last\":4096,\"records\":",
        "\"last\":4096,\"records\":1",
        1,
    );
    assert!(less != text && world.verified(&less).is_err());

    world.write(3 * RANGE + 200).await;
    world.pass(10 * DAY);
    world.retain_all().await;
    let front = 2 * RANGE;
    let text = world.exported(0).await.unwrap();
    let told =
        format!("{{\"type\":\"removed\",\"first\":1,\"last\":{front},\"records\":{front}}}\n");
    assert!(text.contains(&told), "{text:.2000}");
    assert!(world.verified(&text).unwrap().removed >= front);
    // It goes on where an earlier one ended, and behind what is gone; what was between is told.
    let ended = early.statement().size;
    for after in [ended, front] {
        let text = world.exported(after).await.unwrap();
        let verified = world.verified(&text).unwrap();
        assert_eq!(verified.after, after);
        assert!(verified.removed >= front.saturating_sub(after), "{after}");
        assert_eq!(text.contains(&told), after < front);
    }
    // Where nothing can be proven any more, it says where to go on.
    for after in [100, ended + 128, front - 1] {
        world.refused(after).await;
    }
    let asked = ExportHistory {
        format: "csv",
        after: 100,
        ..ExportHistory::default()
    };
    let table = world.begun(asked).await.unwrap();
    assert_eq!(table.removed, front, "a table needs no hashes");
    for (from, good) in [(100, false), (ended, true), (front, true)] {
        let call = world.call();
        match world
            .engine
            .prove_consistency(&call, Some(from), None)
            .await
        {
            Ok(_) => assert!(good, "{from}"),
            Err(error) => {
                assert_eq!(
                    (error.code(), good),
                    (Code::InvalidParameter, false),
                    "{from}"
                );
            }
        }
    }
}

/// Answers from one store and, from some question on, from another.
struct Turning {
    before: Arc<dyn Store>,
    after: Arc<dyn Store>,
    left: AtomicUsize,
}

impl Turning {
    fn now(&self) -> &dyn Store {
        let order = Ordering::SeqCst;
        match self.left.fetch_update(order, order, |n| n.checked_sub(1)) {
            Ok(_) => &*self.before,
            Err(_) => &*self.after,
        }
    }
}

impl Store for Turning {
    fn begin<'a>(&'a self, locks: &'a [LockKey]) -> Boxed<'a, Result<Box<dyn Txn>>> {
        self.after.begin(locks)
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> Boxed<'a, Result<Option<Value>>> {
        self.now().get(key)
    }

    fn scan<'a>(&'a self, scan: &'a Scan) -> Boxed<'a, Result<Vec<(Key, Value)>>> {
        self.now().scan(scan)
    }

    fn snapshot(&self, visit: Visit) -> Boxed<'_, Result<()>> {
        self.after.snapshot(visit)
    }

    fn spool(&self) -> Result<std::fs::File> {
        self.after.spool()
    }

    fn keep_time(&self) -> Boxed<'_, Result<()>> {
        self.after.keep_time()
    }

    fn health(&self) -> Health {
        self.after.health()
    }

    fn close(&self) -> Boxed<'_, Result<()>> {
        self.after.close()
    }
}

#[tokio::test]
async fn a_removal_at_any_moment_of_an_export_leaves_it_whole() {
    let world = World::new(retention(Some(1), None)).await;
    let checkpoint: Checkpoint = world.write(RANGE).await;
    world.write(2 * RANGE + 100).await;
    let before = world.memory.after_power_cut();
    let (before, _) = serve(&before, &world.header, &world.root, &world.clocks).await;
    world.pass(2 * DAY);
    assert!(world.retain_all().await > 0);
    let end = checkpoint.statement().size;
    let keyring = &world.engine.keyring;
    let (mut most, mut least) = (0, u64::MAX);
    // Before, between and behind the questions of its first batch, and later.
    for left in (0..10).map(|n| n * 4).chain([100]) {
        let store = Arc::new(Turning {
            before: before.store.clone(),
            after: world.engine.store.clone(),
            left: AtomicUsize::new(left),
        });
        let range = Range {
            filter: AuditFilter::default(),
            after: end - 400,
            end,
            against: None,
        };
        let time = Timestamp::from_millis(0);
        let name = (world.workspace, "default");
        let key = keyring.audit_key().public_key();
        let header = Header {
            after: range.after,
            ..Header::new(name, &checkpoint, key, time)
        };
        let mut out = Vec::new();
        let writer = Writer::begin(keyring.clone(), &header, &mut out).unwrap();
        let extract = Extract::new(store, keyring.clone(), world.workspace, range);
        let records = lines(extract, writer, &mut out).await.unwrap();
        let verified = world.verified(std::str::from_utf8(&out).unwrap());
        let verified = verified.unwrap_or_else(|refused| panic!("{left}: {refused:?}"));
        assert!(records > 350 || verified.removed > 0, "{left}: {records}");
        (most, least) = (most.max(records), least.min(records));
    }
    assert!(least < 10 && most > 300, "{least} to {most}");
}
