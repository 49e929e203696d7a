//! The journal: what was committed and is not yet in sled's tree.
//!
//! One sequential write and one `fdatasync` make a whole group durable; sled gets the sum of many groups at a
//! checkpoint, in which a key that changed a hundred times is written once. Two segments take turns: one takes
//! new groups while the other's are carried over. A segment is written over from its start. It is truncated only
//! once its groups are in the tree.
//!
//! ```text
//! frame   = crc32(4, LE, over all that follows) ‖ length(4, LE) ‖ session(8, LE) ‖ group(8, LE) ‖ changes
//! change  = key length(2, LE) ‖ value length + 1, 0 for a removal (4, LE) ‖ key ‖ value
//! ```
//! Reading stops at the first frame that is damaged, of another session than the segment's first, or not the
//! next group: what stands behind it is the torn end of the last write, or left over from an earlier turn.

use std::{
    fs::{DirBuilder, File},
    io::{self, BufReader, Read, Seek},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use crate::{
    domain::error::{Error, Result},
    store::overlay::WriteSet,
};

const FOLDER: &str = "journal";
const SEGMENTS: [&str; 2] = ["0", "1"];
const HEADER: usize = 24;
/// Bytes that are kept for the next frame.
const KEPT_FRAME: usize = 1 << 20;

/// Half of what a segment may keep, however little is written to it.
const KEPT_SEGMENT: u64 = 1 << 20;

/// The open journal. All writing is in order and by one caller at a time.
pub(super) struct Journal {
    files: [Arc<File>; 2],
    /// Which one takes new groups.
    second: bool,
    /// Where the next frame goes in the active segment.
    offset: u64,
    session: u64,
    last: u64,
    frame: Vec<u8>,
}

impl Journal {
    /// Opens or makes the segments in a data folder. Nothing is written to them before [`Self::begin`].
    pub(super) fn open(data_dir: &Path) -> io::Result<Self> {
        let mut session = [0; 8];
        getrandom::fill(&mut session).map_err(io::Error::other)?;
        let folder = data_dir.join(FOLDER);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let segment = |name: &str| {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(folder.join(name))
                .map(Arc::new)
        };
        let [first, second] = SEGMENTS;
        let files = [segment(first)?, segment(second)?];
        // The names of new files are durable only once their folder is.
        File::open(&folder)?.sync_all()?;
        Ok(Self {
            files,
            second: false,
            offset: 0,
            session: u64::from_le_bytes(session),
            last: 0,
            frame: Vec::new(),
        })
    }

    /// Both segments' files.
    pub(super) fn files(&self) -> impl Iterator<Item = &File> {
        self.files.iter().map(|file| &**file)
    }

    /// Which groups the segments hold.
    pub(super) fn rows(&self) -> Result<Rows> {
        let mut rows = Vec::new();
        for file in &self.files {
            let mut reader = Frames::new(file).map_err(unreadable)?;
            let mut row = None;
            while let Some(frame) = reader.next().map_err(unreadable)? {
                let (first, _) = row.unwrap_or((frame.group, frame.group));
                row = Some((first, frame.group));
            }
            rows.extend(row);
        }
        rows.sort_unstable();
        Ok(Rows(rows))
    }

    /// Hands over the groups after `applied` that the segments hold, in order and without a gap; gives back the
    /// number of the last one, or `applied`.
    pub(super) fn replay(
        &self,
        applied: u64,
        mut take: impl FnMut(u64, WriteSet) -> Result<()>,
    ) -> Result<u64> {
        let mut reach = applied;
        let mut readers = Vec::new();
        for file in &self.files {
            let mut reader = Frames::new(file).map_err(unreadable)?;
            if let Some(first) = reader.next().map_err(unreadable)? {
                readers.push((first, reader));
            }
        }
        readers.sort_by_key(|(first, _)| first.group);
        for (first, mut reader) in readers {
            let mut frame = Some(first);
            while let Some(found) = frame {
                if found.group > reach {
                    if found.group != reach + 1 {
                        return Ok(reach);
                    }
                    reach = found.group;
                    take(reach, found.changes)?;
                }
                frame = reader.next().map_err(unreadable)?;
            }
        }
        Ok(reach)
    }

    /// Begins to take groups after `last`: everything up to it is in the tree, and durable there.
    pub(super) fn begin(&mut self, last: u64) {
        self.last = last;
        self.offset = 0;
    }

    /// Bytes in the active segment.
    pub(super) fn length(&self) -> u64 {
        self.offset
    }

    /// The number of the last group.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Writes the next group. It is durable after the next sync of the active segment.
    pub(super) fn append(&mut self, changes: &WriteSet) -> io::Result<u64> {
        let group = self.last + 1;
        self.frame.clear();
        self.frame.resize(8, 0);
        self.frame.extend_from_slice(&self.session.to_le_bytes());
        self.frame.extend_from_slice(&group.to_le_bytes());
        for (key, value) in changes {
            let too_long = |_| io::Error::other("a record is too long for the journal");
            let key_length = u16::try_from(key.len()).map_err(too_long)?;
            let value_length = match value {
                Some(value) => u32::try_from(value.len() + 1).map_err(too_long)?,
                None => 0,
            };
            self.frame.extend_from_slice(&key_length.to_le_bytes());
            self.frame.extend_from_slice(&value_length.to_le_bytes());
            self.frame.extend_from_slice(key);
            self.frame
                .extend_from_slice(value.as_deref().unwrap_or_default());
        }
        let length = u32::try_from(self.frame.len() - HEADER)
            .map_err(|_| io::Error::other("a group is too long for the journal"))?;
        if let Some(at) = self.frame.get_mut(4..8) {
            at.copy_from_slice(&length.to_le_bytes());
        }
        let crc = crc32fast::hash(self.frame.get(4..).unwrap_or_default());
        if let Some(at) = self.frame.get_mut(..4) {
            at.copy_from_slice(&crc.to_le_bytes());
        }
        self.active().write_all_at(&self.frame, self.offset)?;
        self.offset += self.frame.len() as u64;
        self.frame.clear();
        // One huge group does not keep its memory.
        self.frame.shrink_to(KEPT_FRAME);
        self.last = group;
        Ok(group)
    }

    /// The active segment's file, to sync it while others go on.
    pub(super) fn active(&self) -> &Arc<File> {
        let [first, second] = &self.files;
        if self.second { second } else { first }
    }

    #[cfg(test)]
    pub(super) fn replace_active(&mut self, file: Arc<File>) -> Arc<File> {
        std::mem::replace(&mut self.files[usize::from(self.second)], file)
    }

    /// The segment whose turn is next.
    pub(super) fn idle(&self) -> &Arc<File> {
        let [first, second] = &self.files;
        if self.second { first } else { second }
    }

    /// Makes the other segment the active one, from its start: its groups must be in the tree by now, and the
    /// active one's synced, so that no group survives a power cut which one before it does not.
    pub(super) fn switch(&mut self) {
        self.second = !self.second;
        self.offset = 0;
    }
}

/// The first and the last group of each segment that holds any, in order.
pub(super) struct Rows(Vec<(u64, u64)>);

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last group of a replay of all that follows `from`.
    pub(super) fn reach(&self, from: u64) -> u64 {
        self.0.iter().fold(from, |reach, (first, last)| {
            if *first <= reach.saturating_add(1) {
                reach.max(*last)
            } else {
                reach
            }
        })
    }

    /// From where on to replay all that is held, to end no earlier than at `applied`: older groups over newer ones
    /// are as if nothing had happened where all that came after them comes after them again, and only there.
    pub(super) fn before_all_up_to(&self, applied: u64) -> u64 {
        let joined = match self.0.as_slice() {
            [(first, middle), (next, last)] if middle.checked_add(1) == Some(*next) => {
                Some((*first, *last))
            }
            _ => None,
        };
        let leads_up =
            |(first, last): &(u64, u64)| *first <= applied.saturating_add(1) && *last >= applied;
        joined
            .into_iter()
            .chain(self.0.iter().copied())
            .find(leads_up)
            .map_or(applied, |(first, _)| first.saturating_sub(1))
    }
}

struct Frame {
    group: u64,
    changes: WriteSet,
}

struct Frames<'a> {
    reader: BufReader<&'a File>,
    left: u64,
    session: Option<u64>,
    group: Option<u64>,
}

impl<'a> Frames<'a> {
    fn new(mut file: &'a File) -> io::Result<Self> {
        let left = file.metadata()?.len();
        file.rewind()?;
        Ok(Self {
            reader: BufReader::with_capacity(1 << 20, file),
            left,
            session: None,
            group: None,
        })
    }

    fn next(&mut self) -> io::Result<Option<Frame>> {
        if self.left < HEADER as u64 {
            return Ok(None);
        }
        let mut crc = [0; 4];
        let mut length = [0; 4];
        self.reader.read_exact(&mut crc)?;
        self.reader.read_exact(&mut length)?;
        let body = u64::from(u32::from_le_bytes(length)) + 16;
        if body + 8 > self.left {
            return Ok(None);
        }
        self.left -= body + 8;
        let mut bytes = Vec::new();
        self.reader.by_ref().take(body).read_to_end(&mut bytes)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&length);
        hasher.update(&bytes);
        if hasher.finalize() != u32::from_le_bytes(crc) {
            return Ok(None);
        }
        Ok(self.parse(&bytes))
    }

    fn parse(&mut self, bytes: &[u8]) -> Option<Frame> {
        let (session, rest) = bytes.split_first_chunk::<8>()?;
        let (group, mut rest) = rest.split_first_chunk::<8>()?;
        let session = u64::from_le_bytes(*session);
        if *self.session.get_or_insert(session) != session {
            return None;
        }
        // Where a write was dropped, an earlier turn of the same session may show through.
        let group = u64::from_le_bytes(*group);
        let before = self.group.replace(group);
        if before.is_some_and(|before| before.checked_add(1) != Some(group)) {
            return None;
        }
        let mut changes = WriteSet::new();
        while !rest.is_empty() {
            let (key_length, after) = rest.split_first_chunk::<2>()?;
            let (value_length, after) = after.split_first_chunk::<4>()?;
            let (key, after) =
                after.split_at_checked(usize::from(u16::from_le_bytes(*key_length)))?;
            let value_length = u32::from_le_bytes(*value_length) as usize;
            let (value, after) = after.split_at_checked(value_length.saturating_sub(1))?;
            let value = (value_length > 0).then(|| value.into());
            changes.insert(key.into(), value);
            rest = after;
        }
        Some(Frame { group, changes })
    }
}

/// Lengthens a segment that is not in use, with zeros, which are no frame. A write within a file's length is
/// synced without the file system's own journal, and so in half the time.
pub(super) fn lengthen(file: &File, length: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut at = file.metadata()?.len();
    if at >= length {
        return Ok(());
    }
    while at < length {
        file.write_all_at(&ZEROS, at)?;
        at += ZEROS.len() as u64;
    }
    file.sync_data()
}

/// Shortens a segment that is not in use, and whose groups are in the tree, where it is far longer than what the last
/// minutes needed. A power cut leaves the one length or the other.
pub(super) fn shorten(file: &File, needed: u64) -> io::Result<()> {
    let enough = 2 * needed.max(KEPT_SEGMENT);
    match file.metadata()?.len() > 2 * enough {
        true => file.set_len(enough),
        false => Ok(()),
    }
}

fn unreadable(error: io::Error) -> Error {
    Error::storage("the journal cannot be read").caused_by(error)
}

/// The journal could not be written.
pub(super) fn broken(error: io::Error) -> Error {
    Error::storage("the journal cannot be written").caused_by(error)
}
