//! A model of a disk under a file system, built from a recording: what is sure to be on it after a power cut, and
//! what may be.
//!
//! - The content and length of a file are sure up to the beginning of its last successful sync. Of what came later,
//!   any may be there, by sectors of 512 bytes, each as it was at some moment since.
//! - A name that was made, renamed or removed is sure once its folder was synced. Of later changes to names, as many
//!   as one likes from the first one on may be there: file systems with a journal keep their order.
//! - A failed sync leaves what it should have written in doubt for good: a later one does not write it.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{dice::Dice, kit::files};

const SECTOR: usize = 512;

/// What becomes of all that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is all there, as after kill -9.
    Kept,
    /// It was synced at last, but for what a failed sync has lost sight of.
    Settled,
    /// None of it is there.
    Dropped,
    /// Of each file it is there up to some moment, and the write of that moment is torn.
    Torn,
    /// Each sector is as it was at some moment.
    Scattered,
}

impl Fate {
    pub const AFTER_CUT: [Self; 3] = [Self::Dropped, Self::Torn, Self::Scattered];
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone, Default)]
struct Content {
    durable: Vec<u8>,
    /// Changes since, and whether a failed sync has lost sight of them.
    changes: Vec<(Change, bool)>,
    /// Changes that became durable so far: their numbers go on counting.
    settled: usize,
}

#[derive(Debug, Clone)]
enum Naming {
    Made(PathBuf, usize),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
}

type Names = BTreeMap<PathBuf, usize>;

/// What a running sync will have made durable.
#[derive(Debug, Clone)]
enum Reach {
    Content(usize, usize),
    Names(PathBuf, usize),
}

#[derive(Debug, Clone, Default)]
pub struct Disk {
    contents: Vec<Content>,
    inodes: HashMap<u64, usize>,
    names: Names,
    durable_names: Names,
    namings: Vec<Naming>,
    running: HashMap<u64, Reach>,
    /// Successful syncs of files.
    pub syncs: usize,
}

/// The files that are left.
#[derive(Debug, PartialEq, Eq)]
pub struct Remains(BTreeMap<PathBuf, Vec<u8>>);

fn apply(image: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write { at, bytes } => {
            let end = at + bytes.len();
            if image.len() < end {
                image.resize(end, 0);
            }
            image[*at..end].copy_from_slice(bytes);
        }
        Change::Length(length) => image.resize(*length, 0),
    }
}

fn rename(names: &mut Names, naming: &Naming) {
    match naming {
        Naming::Made(path, content) => {
            names.insert(path.clone(), *content);
        }
        Naming::Renamed(from, to) => {
            if let Some(content) = names.remove(from) {
                names.insert(to.clone(), content);
            }
        }
        Naming::Removed(path) => {
            names.remove(path);
        }
    }
}

impl Naming {
    fn is_in(&self, folder: &Path) -> bool {
        let (Self::Made(path, _) | Self::Renamed(_, path) | Self::Removed(path)) = self;
        path.parent() == Some(folder)
    }
}

impl Disk {
    /// A folder, all of it durable.
    pub fn of(folder: &Path) -> Self {
        let mut disk = Self::default();
        for path in files(folder) {
            disk.contents.push(Content {
                durable: fs::read(&path).unwrap(),
                ..Content::default()
            });
            let name = path.strip_prefix(folder).unwrap().to_owned();
            disk.names.insert(name, disk.contents.len() - 1);
        }
        disk.durable_names = disk.names.clone();
        disk
    }

    /// Replays a recording, which may end in the middle of a record.
    pub fn replay(&mut self, root: &Path, mut recording: &[u8]) {
        let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
        while let Some((length, rest)) = recording.split_first_chunk::<4>() {
            let length = u32::from_ne_bytes(*length) as usize;
            if rest.len() < length {
                return;
            }
            let (record, rest) = rest.split_at(length);
            recording = rest;
            let (first, second) = (number(&record[1..9]), number(&record[9..17]));
            self.step(root, record[0], first, second, &record[17..]);
        }
    }

    fn step(&mut self, root: &Path, kind: u8, first: u64, second: u64, bytes: &[u8]) {
        let name = |bytes: &[u8]| {
            let path = PathBuf::from(std::str::from_utf8(bytes).unwrap());
            path.strip_prefix(root).unwrap().to_owned()
        };
        match kind {
            b'C' => {
                self.contents.push(Content::default());
                let content = self.contents.len() - 1;
                self.inodes.insert(first, content);
                self.naming(Naming::Made(name(bytes), content));
            }
            b'O' => {
                let content = self.names[&name(bytes)];
                self.inodes.insert(first, content);
                if second == 1 {
                    self.change(first, Change::Length(0));
                }
            }
            b'W' => self.change(
                first,
                Change::Write {
                    at: second as usize,
                    bytes: bytes.to_vec(),
                },
            ),
            b'T' => self.change(first, Change::Length(second as usize)),
            b'R' => {
                let (from, to) = bytes.split_at(first as usize);
                self.naming(Naming::Renamed(name(from), name(to)));
            }
            b'U' => self.naming(Naming::Removed(name(bytes))),
            // An empty folder holds nothing that a vault could miss.
            b'M' => {}
            b'S' => {
                if let Some(content) = self.inodes.get(&first) {
                    let of = &self.contents[*content];
                    let reach = Reach::Content(*content, of.settled + of.changes.len());
                    self.running.insert(second, reach);
                }
            }
            b'D' => {
                let reach = Reach::Names(name(bytes), self.namings.len());
                self.running.insert(second, reach);
            }
            b'E' => self.synced(second, first == 1),
            _ => panic!("the model does not know {}", String::from_utf8_lossy(bytes)),
        }
    }

    fn change(&mut self, inode: u64, change: Change) {
        let content = self.inodes[&inode];
        self.contents[content].changes.push((change, false));
    }

    fn naming(&mut self, naming: Naming) {
        rename(&mut self.names, &naming);
        self.namings.push(naming);
    }

    fn synced(&mut self, token: u64, well: bool) {
        match self.running.remove(&token) {
            Some(Reach::Content(content, reach)) => {
                self.syncs += usize::from(well);
                let content = &mut self.contents[content];
                let count = reach.saturating_sub(content.settled);
                if well {
                    for (change, lost) in content.changes.drain(..count) {
                        if !lost {
                            apply(&mut content.durable, &change);
                        }
                    }
                    content.settled += count;
                } else {
                    content.changes[..count]
                        .iter_mut()
                        .for_each(|(_, lost)| *lost = true);
                }
            }
            Some(Reach::Names(folder, reach)) if well => {
                let (done, later) = self.namings.split_at(reach.min(self.namings.len()));
                let mut left = Vec::new();
                for naming in done {
                    if naming.is_in(&folder) {
                        rename(&mut self.durable_names, naming);
                    } else {
                        left.push(naming.clone());
                    }
                }
                left.extend_from_slice(later);
                // Syncs of folders do not overlap in one vault; their reach would have to move with these.
                self.namings = left;
            }
            _ => {}
        }
    }

    /// What is left after a power cut now.
    pub fn after_cut(&self, fate: Fate, dice: &mut Dice) -> Remains {
        let mut names = self.durable_names.clone();
        let kept = match fate {
            Fate::Kept | Fate::Settled => self.namings.len(),
            Fate::Dropped => 0,
            Fate::Torn | Fate::Scattered => dice.roll(self.namings.len() as u64 + 1) as usize,
        };
        for naming in &self.namings[..kept] {
            rename(&mut names, naming);
        }
        let left = names
            .into_iter()
            .map(|(name, content)| (name, self.contents[content].after_cut(fate, dice)));
        Remains(left.collect())
    }
}

impl Content {
    fn after_cut(&self, fate: Fate, dice: &mut Dice) -> Vec<u8> {
        let changes: Vec<&Change> = self.changes.iter().map(|(change, _)| change).collect();
        let some = |dice: &mut Dice| dice.roll(changes.len() as u64 + 1) as usize;
        let image_after = |count: usize| {
            let mut image = self.durable.clone();
            changes[..count]
                .iter()
                .for_each(|change| apply(&mut image, change));
            image
        };
        match fate {
            Fate::Kept => image_after(changes.len()),
            Fate::Settled => {
                let mut image = self.durable.clone();
                let found = self.changes.iter().filter(|(_, lost)| !lost);
                found.for_each(|(change, _)| apply(&mut image, change));
                image
            }
            Fate::Dropped => self.durable.clone(),
            Fate::Torn => {
                let count = some(dice);
                let mut image = image_after(count);
                if let Some(Change::Write { at, bytes }) = changes.get(count) {
                    let sectors = bytes.len().div_ceil(SECTOR) as u64;
                    // To a border of the disk's sectors, not of the write's.
                    let end = (at / SECTOR + dice.roll(sectors + 1) as usize) * SECTOR;
                    if let Some(part) = bytes.get(..end.saturating_sub(*at).min(bytes.len())) {
                        let bytes = part.to_vec();
                        apply(&mut image, &Change::Write { at: *at, bytes });
                    }
                }
                image
            }
            Fate::Scattered => {
                let mut image = image_after(some(dice));
                image.resize(image.len(), 0);
                for sector in 0..image.len().div_ceil(SECTOR) {
                    let touched = changes.iter().any(|change| change.touches(sector));
                    if !touched {
                        continue;
                    }
                    let (from, to) = (sector * SECTOR, image.len().min((sector + 1) * SECTOR));
                    let mut then = image_of(&self.durable, &changes[..some(dice)], from, to);
                    then.resize(to - from, 0);
                    image[from..to].copy_from_slice(&then);
                }
                image
            }
        }
    }
}

impl Change {
    fn touches(&self, sector: usize) -> bool {
        let (from, to) = (sector * SECTOR, (sector + 1) * SECTOR);
        match self {
            Self::Write { at, bytes } => *at < to && at + bytes.len() > from,
            Self::Length(length) => *length < to,
        }
    }
}

/// A range of a file after some changes.
fn image_of(durable: &[u8], changes: &[&Change], from: usize, to: usize) -> Vec<u8> {
    let mut part = vec![0; to - from];
    let known = durable.len().min(to);
    if known > from {
        part[..known - from].copy_from_slice(&durable[from..known]);
    }
    for change in changes {
        match change {
            Change::Write { at, bytes } => {
                let (begin, end) = ((*at).max(from), (at + bytes.len()).min(to));
                if begin < end {
                    part[begin - from..end - from].copy_from_slice(&bytes[begin - at..end - at]);
                }
            }
            Change::Length(length) if *length < to => part[length.max(&from) - from..].fill(0),
            Change::Length(_) => {}
        }
    }
    part
}

impl Remains {
    /// What is in a folder.
    pub fn of(folder: &Path) -> Self {
        Disk::of(folder).after_cut(Fate::Dropped, &mut Dice::new(0))
    }

    /// Writes it to a folder, which is emptied first.
    pub fn write(&self, folder: &Path) {
        let _ = fs::remove_dir_all(folder);
        make_private(folder);
        for (name, bytes) in &self.0 {
            let path = folder.join(name);
            make_private(path.parent().unwrap());
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// The names and lengths, for a message.
    pub fn lengths(&self) -> Vec<(&Path, usize)> {
        let lengths = self.0.iter();
        lengths
            .map(|(name, bytes)| (name.as_path(), bytes.len()))
            .collect()
    }
}

fn make_private(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
}
