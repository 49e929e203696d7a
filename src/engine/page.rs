//! Pages of sorted lists, by cursor or offset.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::domain::error::{Error, Result};

/// The default and the largest number of items on a page.
pub const DEFAULT_LIMIT: usize = 50;
pub const MAX_LIMIT: usize = 200;

/// Which page of a list, as a caller asks for it.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    pub limit: Option<u64>,
    pub cursor: Option<String>,
    pub offset: Option<u64>,
    /// A field, with `-` in front for descending order.
    pub sort: Option<String>,
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub limit: usize,
    pub next_cursor: Option<String>,
    /// Items on all pages.
    pub total: u64,
    /// Items whose records do not open, and which are on no page.
    pub unreadable: u64,
}

impl<T> Page<T> {
    /// The same page with its items turned into something else.
    pub fn map<U>(mut self, turn: impl FnMut(T) -> U) -> Page<U> {
        let items = std::mem::take(&mut self.items);
        self.with(items.into_iter().map(turn).collect())
    }

    /// The same page with what its items were turned into.
    pub fn with<U>(self, items: Vec<U>) -> Page<U> {
        Page {
            items,
            limit: self.limit,
            next_cursor: self.next_cursor,
            total: self.total,
            unreadable: self.unreadable,
        }
    }
}

/// One page's items, picked while a list is read: of all that it is offered it holds no more than the page, what the
/// offset passes over, and one behind them.
pub struct Picking<T> {
    descending: bool,
    after: Option<Vec<u8>>,
    most: usize,
    picked: BTreeMap<Vec<u8>, T>,
    total: u64,
}

impl<T> Picking<T> {
    pub fn new<S>(window: &Window<S>) -> Self {
        let offset = usize::try_from(window.offset).unwrap_or(usize::MAX);
        Self {
            descending: window.descending,
            after: window.after.clone(),
            most: offset.saturating_add(window.limit).saturating_add(1),
            picked: BTreeMap::new(),
            total: 0,
        }
    }

    /// An item of the list, at its position, which no other has.
    pub fn offer(&mut self, position: Vec<u8>, item: T) {
        self.total += 1;
        let descending = self.descending;
        let precedes = |one: &[u8], other: &[u8]| match descending {
            true => one > other,
            false => one < other,
        };
        if self
            .after
            .as_ref()
            .is_some_and(|after| !precedes(after, &position))
        {
            return;
        }
        if self.picked.len() == self.most {
            let last = match descending {
                true => self.picked.first_entry(),
                false => self.picked.last_entry(),
            };
            match last {
                Some(last) if precedes(&position, last.key()) => drop(last.remove()),
                _ => return,
            }
        }
        self.picked.insert(position, item);
    }
}

/// A page request that was held to its bounds.
#[derive(Debug)]
pub struct Window<S> {
    pub sort: S,
    pub descending: bool,
    pub limit: usize,
    offset: u64,
    /// The position of the last item of the page before.
    pub after: Option<Vec<u8>>,
}

impl PageRequest {
    /// Reads the request; `sorts` are the fields the list can be sorted by. A cursor goes on in the order it
    /// came from and in no other.
    pub fn window<S: Copy>(&self, sorts: &[(&str, S)], default: &str) -> Result<Window<S>> {
        let limit = match self.limit {
            None => DEFAULT_LIMIT,
            Some(limit) if (1..=MAX_LIMIT as u64).contains(&limit) => limit as usize,
            Some(_) => {
                return Err(
                    Error::invalid("limit", format!("`limit` must be 1 to {MAX_LIMIT}"))
                        .with("limit", MAX_LIMIT as u64),
                );
            }
        };
        if self.cursor.is_some() && self.offset.is_some() {
            return Err(Error::invalid(
                "offset",
                "`cursor` and `offset` exclude each other",
            ));
        }
        let asked = self.sort.as_deref().unwrap_or(default);
        let (field, descending) = asked
            .strip_prefix('-')
            .map_or((asked, false), |field| (field, true));
        let Some((_, sort)) = sorts.iter().find(|(name, _)| *name == field) else {
            let known: Vec<_> = sorts.iter().map(|(name, _)| *name).collect();
            return Err(Error::invalid(
                "sort",
                format!(
                    "`sort` must be one of `{}`, with `-` in front to reverse",
                    known.join("`, `")
                ),
            ));
        };
        let after = self
            .cursor
            .as_deref()
            .map(|cursor| read_cursor(cursor, asked))
            .transpose()?;
        Ok(Window {
            sort: *sort,
            descending,
            limit,
            offset: self.offset.unwrap_or(0),
            after,
        })
    }

    /// The cursor behind an item at this position.
    pub fn cursor_after(&self, default: &str, position: &[u8]) -> String {
        let sort = self.sort.as_deref().unwrap_or(default).as_bytes();
        let mut bytes = vec![u8::try_from(sort.len()).unwrap_or(0)];
        bytes.extend_from_slice(sort);
        bytes.extend_from_slice(position);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Cuts one page out of items at their positions, which are distinct.
    pub fn cut<S: Copy, T>(
        &self,
        window: &Window<S>,
        default: &str,
        items: Vec<(Vec<u8>, T)>,
    ) -> Page<T> {
        let mut picking = Picking::new(window);
        for (position, item) in items {
            picking.offer(position, item);
        }
        self.picked(window, default, picking)
    }

    /// The page of a list whose every item was offered.
    pub fn picked<S: Copy, T>(
        &self,
        window: &Window<S>,
        default: &str,
        picking: Picking<T>,
    ) -> Page<T> {
        let Picking { picked, total, .. } = picking;
        let in_order: Box<dyn Iterator<Item = _>> = match window.descending {
            true => Box::new(picked.into_iter().rev()),
            false => Box::new(picked.into_iter()),
        };
        let mut rest = in_order
            .skip(usize::try_from(window.offset).unwrap_or(usize::MAX))
            .peekable();
        let mut page = Vec::with_capacity(window.limit.min(64));
        let mut last = None;
        while page.len() < window.limit
            && let Some((position, item)) = rest.next()
        {
            last = Some(position);
            page.push(item);
        }
        let next_cursor = match (rest.peek(), last) {
            (Some(_), Some(last)) => Some(self.cursor_after(default, &last)),
            _ => None,
        };
        Page {
            items: page,
            limit: window.limit,
            next_cursor,
            total,
            unreadable: 0,
        }
    }
}

impl<S> Window<S> {
    /// Items to pass over.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

fn read_cursor(cursor: &str, sort: &str) -> Result<Vec<u8>> {
    let unknown = || {
        Error::invalid(
            "cursor",
            "`cursor` is not one that this list gave, in this order",
        )
    };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| unknown())?;
    let (length, rest) = bytes.split_first().ok_or_else(unknown)?;
    let (of, position) = rest
        .split_at_checked(usize::from(*length))
        .ok_or_else(unknown)?;
    if of != sort.as_bytes() || position.is_empty() {
        return Err(unknown());
    }
    Ok(position.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SORTS: [(&str, ()); 1] = [("n", ())];

    fn items(n: u8) -> Vec<(Vec<u8>, u8)> {
        (0..n).map(|i| (vec![i], i)).collect()
    }

    #[test]
    fn cursors_walk_the_whole_list_once_in_either_order() {
        for sort in ["n", "-n"] {
            let mut seen = Vec::new();
            let mut request = PageRequest {
                limit: Some(3),
                sort: Some(sort.into()),
                ..PageRequest::default()
            };
            loop {
                let window = request.window(&SORTS, "n").unwrap();
                let page = request.cut(&window, "n", items(10));
                assert_eq!(page.total, 10);
                seen.extend(page.items);
                match page.next_cursor {
                    Some(cursor) => request.cursor = Some(cursor),
                    None => break,
                }
            }
            let mut expected: Vec<u8> = (0..10).collect();
            if sort == "-n" {
                expected.reverse();
            }
            assert_eq!(seen, expected, "{sort}");
        }
    }

    #[test]
    fn a_page_of_a_long_list_holds_no_more_than_it_shows() {
        for (sort, offset, expected) in [("n", 5, [5u32, 6, 7]), ("-n", 0, [999, 998, 997])] {
            let request = PageRequest {
                limit: Some(3),
                offset: Some(offset),
                sort: Some(sort.into()),
                ..PageRequest::default()
            };
            let window = request.window(&SORTS, "n").unwrap();
            let mut picking = Picking::new(&window);
            for n in 0..1000u32 {
                // In no order.
                let n = n * 7 % 1000;
                picking.offer(n.to_be_bytes().to_vec(), n);
                assert!(picking.picked.len() <= 3 + offset as usize + 1);
            }
            let page = request.picked(&window, "n", picking);
            assert_eq!(
                (page.items, page.total),
                (expected.to_vec(), 1000),
                "{sort}"
            );
            assert!(page.next_cursor.is_some());
        }
    }

    #[test]
    fn requests_that_make_no_sense_are_refused() {
        let bad = |request: PageRequest| request.window(&SORTS, "n").is_err();
        assert!(bad(PageRequest {
            limit: Some(0),
            ..PageRequest::default()
        }));
        assert!(bad(PageRequest {
            limit: Some(201),
            ..PageRequest::default()
        }));
        assert!(bad(PageRequest {
            sort: Some("m".into()),
            ..PageRequest::default()
        }));
        assert!(bad(PageRequest {
            cursor: Some("?".into()),
            ..PageRequest::default()
        }));
        assert!(bad(PageRequest {
            cursor: Some(String::new()),
            ..PageRequest::default()
        }));
        let other = PageRequest {
            sort: Some("-n".into()),
            ..PageRequest::default()
        }
        .cursor_after("n", b"x");
        assert!(
            bad(PageRequest {
                cursor: Some(other.clone()),
                ..PageRequest::default()
            }),
            "another order's cursor"
        );
        assert!(bad(PageRequest {
            cursor: Some(other),
            offset: Some(1),
            ..PageRequest::default()
        }));
    }
}
