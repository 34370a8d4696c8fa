//! Lists that come from many slots and from history: merged, each item once, one page.

use stoker_proto::problem::ProblemKind;
use tonic::Status;

/// The greatest page.
pub(crate) const LIMIT_MOST: u32 = 1_000;

/// Checks a page size.
pub(crate) fn limit(limit: u32) -> Result<usize, Status> {
    if limit == 0 || limit > LIMIT_MOST {
        return Err(ProblemKind::InvalidRequest.status(format!("limit must be 1 to {LIMIT_MOST}")));
    }
    usize::try_from(limit).map_err(|_| ProblemKind::InvalidRequest.status("limit is out of range"))
}

/// Sorts by `key`, drops what has a key that was there already, and cuts the page. True: there is more.
///
/// Of two items with one key the first given stays: give what is newer first.
pub(crate) fn page<T, K: Ord>(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> K) -> (Vec<T>, bool) {
    items.sort_by_key(|item| key(item));
    items.dedup_by(|later, earlier| key(later) == key(earlier));
    let more = items.len() > limit;
    items.truncate(limit);
    (items, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_each_item_once_and_knows_whether_there_is_more() {
        let items = vec![(2, "slot"), (1, "slot"), (2, "history"), (3, "history")];
        assert_eq!(page(items.clone(), 2, |item| item.0), (vec![(1, "slot"), (2, "slot")], true));
        assert_eq!(page(items, 3, |item| item.0), (vec![(1, "slot"), (2, "slot"), (3, "history")], false));
    }

    #[test]
    fn page_sizes_have_bounds() {
        assert!(limit(0).is_err());
        assert!(limit(1_001).is_err());
        assert_eq!(limit(1_000).ok(), Some(1_000));
    }
}
