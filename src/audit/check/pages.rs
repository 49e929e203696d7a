//! The pairs of a range, one after the other.

use crate::{
    domain::error::Result,
    store::port::{Key, Scan, Value},
    tables::Read,
};

/// Pairs that are read at a time; other tasks get their turn in between.
const AT_ONCE: usize = 128;

pub(super) struct Pages {
    scan: Option<Scan>,
    page: std::vec::IntoIter<(Key, Value)>,
}

impl Pages {
    pub(super) fn new(mut scan: Scan) -> Self {
        scan.limit = AT_ONCE;
        Self {
            scan: Some(scan),
            page: Vec::new().into_iter(),
        }
    }

    pub(super) async fn next(&mut self, read: &mut impl Read) -> Result<Option<(Key, Value)>> {
        if let Some(pair) = self.page.next() {
            return Ok(Some(pair));
        }
        let Some(scan) = self.scan.take() else {
            return Ok(None);
        };
        let page = read.range(&scan).await?;
        tokio::task::yield_now().await;
        if let Some((last, _)) = page.last() {
            self.scan = Some(scan.after(last));
        }
        self.page = page.into_iter();
        Ok(self.page.next())
    }
}
