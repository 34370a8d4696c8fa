//! What was told at all, each item once, for all clients together; and what each of them was told, in its order.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use anyhow::{Result, ensure};
use parking_lot::Mutex;

/// The most that is kept: a longer run asks for another way of comparing.
const BYTES_MOST: usize = 512 * 1024 * 1024;
/// What an item takes beside its text.
const OVERHEAD: usize = 128;
/// Of an item so much is shown.
const SHOWN: usize = 160;

/// An item, as a frame shows it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) kind: Box<str>,
    pub(super) device: Box<str>,
    /// JSON.
    pub(super) data: Box<str>,
}

impl Item {
    /// A line about it.
    pub(super) fn shown(&self) -> String {
        let data: String = self.data.chars().take(SHOWN).collect();
        format!("{} of {}: {data}", self.kind, self.device)
    }
}

#[derive(Debug, Default)]
struct Pages {
    /// By what it says: where it stands.
    known: HashMap<u64, u32>,
    items: Vec<Arc<Item>>,
    bytes: usize,
}

/// All items.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<Pages>);

impl Book {
    /// The number of an item; one that says the same is the same.
    pub(super) fn number(&self, kind: &str, device: &str, data: &str) -> Result<u32> {
        let mut hasher = DefaultHasher::new();
        (kind, device, data).hash(&mut hasher);
        let mut pages = self.0.lock();
        let pages = &mut *pages;
        match pages.known.entry(hasher.finish()) {
            Entry::Occupied(known) => Ok(*known.get()),
            Entry::Vacant(place) => {
                let number = u32::try_from(pages.items.len())?;
                pages.bytes += OVERHEAD + kind.len() + device.len() + data.len();
                ensure!(
                    pages.bytes <= BYTES_MOST,
                    "more than {BYTES_MOST} bytes of items were told: make the load or the run smaller"
                );
                let item = Item { kind: kind.into(), device: device.into(), data: data.into() };
                pages.items.push(Arc::new(item));
                Ok(*place.insert(number))
            }
        }
    }

    /// All that was told to anybody, by number.
    pub(super) fn items(&self) -> Vec<Arc<Item>> {
        self.0.lock().items.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_the_same_is_the_same() {
        let book = Book::default();
        assert_eq!(book.number("event", "boiler-1", "{}").unwrap(), 0);
        assert_eq!(book.number("alarm", "boiler-1", "{}").unwrap(), 1);
        assert_eq!(book.number("event", "boiler-1", "{}").unwrap(), 0);
        assert_eq!(book.number("event", "boiler-2", "{}").unwrap(), 2);
        let shown: Vec<String> = book.items().iter().map(|item| item.shown()).collect();
        assert_eq!(shown, ["event of boiler-1: {}", "alarm of boiler-1: {}", "event of boiler-2: {}"]);
    }
}
