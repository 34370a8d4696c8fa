//! Where a listener stands: how far it has come with each publisher. Portals hear the publishers in different orders, so one
//! number would say nothing to another portal.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Publishers of one position. Each core is one as long as it lives.
pub(super) const PUBLISHERS_MOST: usize = 64;
/// The longest name of a publisher.
const NAME_MOST: usize = 64;
/// What stands beside the name: the greatest number, and two signs.
const NUMBER_MOST: usize = 22;
/// The longest position as text: all publishers with names and numbers of the greatest length.
const TEXT_MOST: usize = PUBLISHERS_MOST * (NAME_MOST + NUMBER_MOST) * 4 / 3 + 4;
/// What a place in the map takes.
const PLACE: usize = 32;

/// Whether a publisher may be called so: a position of others could not be read when it comes back.
pub(super) fn is_name(publisher: &str) -> bool {
    (1..=NAME_MOST).contains(&publisher.len())
        && publisher.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// How far a listener has come, by publisher.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Position(pub(super) BTreeMap<Arc<str>, u64>);

impl Position {
    /// How far it has come with this one; none when it knows nothing of it.
    pub(super) fn of(&self, publisher: &str) -> Option<u64> {
        self.0.get(publisher).copied()
    }

    /// The further of both, of each publisher. Where these are too many, those that only the other knows are left out.
    pub(super) fn merged(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        for (publisher, number) in &other.0 {
            if let Some(known) = merged.0.get_mut(publisher) {
                *known = (*known).max(*number);
            } else if merged.0.len() < PUBLISHERS_MOST {
                merged.0.insert(Arc::clone(publisher), *number);
            }
        }
        merged
    }

    /// About what it takes in memory, as it is and as text.
    pub(super) fn weight(&self) -> usize {
        self.0.keys().map(|publisher| (publisher.len() + NUMBER_MOST) * 4 / 3 + PLACE).sum()
    }

    /// Whether whoever stands here has all that one at `other` has.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(publisher, number)| self.of(publisher).is_some_and(|known| known >= *number))
    }

    /// As it goes out, opaque.
    pub(super) fn text(&self) -> String {
        let mut plain = String::new();
        for (publisher, number) in &self.0 {
            if write!(plain, "{publisher}:{number},").is_err() {
                break;
            }
        }
        URL_SAFE_NO_PAD.encode(plain.trim_end_matches(','))
    }
}

/// As somebody gave it back. The error says what is wrong with it.
impl FromStr for Position {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FOREIGN: &str = "this is no position of the live feed; it goes as it came in `position`";
        if text.len() > TEXT_MOST {
            return Err(FOREIGN);
        }
        let plain = URL_SAFE_NO_PAD.decode(text).map_err(|_| FOREIGN)?;
        let plain = String::from_utf8(plain).map_err(|_| FOREIGN)?;
        let mut position = Self::default();
        for part in plain.split(',').filter(|part| !part.is_empty()) {
            let (publisher, number) = part.split_once(':').ok_or(FOREIGN)?;
            let number = number.parse().map_err(|_| FOREIGN)?;
            if !is_name(publisher) || position.0.len() >= PUBLISHERS_MOST {
                return Err(FOREIGN);
            }
            if position.0.insert(publisher.into(), number).is_some() {
                return Err(FOREIGN);
            }
        }
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(of: &[(&str, u64)]) -> Position {
        Position(of.iter().map(|(name, number)| ((*name).into(), *number)).collect())
    }

    #[test]
    fn a_position_comes_back_as_it_went() {
        for of in [position(&[]), position(&[("a1", 0)]), position(&[("00ff", u64::MAX), ("m-7.x", 3)])] {
            let text = of.text();
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
            assert_eq!(text.parse(), Ok(of));
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        let encoded = |plain: &str| URL_SAFE_NO_PAD.encode(plain);
        let many: String = (0..=PUBLISHERS_MOST).map(|n| format!("p{n}:1,")).collect();
        for text in [
            "%".to_owned(),
            "abc".to_owned(),
            encoded("a"),
            encoded("a:"),
            encoded("a:-1"),
            encoded("a:18446744073709551616"),
            encoded(":1"),
            encoded("a b:1"),
            encoded("a:1,a:2"),
            encoded(&format!("{}:1", "x".repeat(NAME_MOST + 1))),
            encoded(&many),
            "A".repeat(TEXT_MOST + 1),
        ] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_position_is_taken_back() {
        let name = |n: usize| format!("{n:0>width$}", width = NAME_MOST);
        let longest =
            Position((0..PUBLISHERS_MOST).map(|n| (name(n).into(), u64::MAX)).collect::<BTreeMap<_, _>>());
        assert_eq!(longest.text().parse(), Ok(longest));
    }

    #[test]
    fn the_further_of_two() {
        let (one, other) = (position(&[("a", 3), ("b", 1)]), position(&[("b", 4), ("c", 0)]));
        let both = one.merged(&other);
        assert_eq!(both, position(&[("a", 3), ("b", 4), ("c", 0)]));
        assert!(both.covers(&one) && both.covers(&other));
        assert!(!one.covers(&other), "it knows nothing of c");
    }

    #[test]
    fn the_further_of_two_is_taken_back_however_many_publishers_they_know() {
        let of = |kind: &str| {
            let all = (0..PUBLISHERS_MOST).map(|n| (format!("{kind}{n}").into(), 7));
            Position(all.chain([("both".into(), 7)]).skip(1).collect())
        };
        let (here, other) = (of("here"), Position([("both".into(), 9)].into()).merged(&of("other")));
        let both = here.merged(&other);
        assert_eq!(both.text().parse(), Ok(both.clone()));
        assert!(both.covers(&here));
        assert_eq!(both.of("both"), Some(9));
    }
}
