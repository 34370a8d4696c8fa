//! Listeners that come and go, at portals that hear the same publishers in different orders: nothing twice, and nothing left out
//! but where it is said. And what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::value::RawValue;
use stoker_domain::ports::bus::FeedPosition;
use stoker_domain::{DeviceId, DeviceKey, OrganizationId};

use super::super::backlog::Bounds;
use super::*;

fn at(publisher: usize, number: u64) -> FeedPosition {
    FeedPosition { publisher: format!("p{publisher}").into(), number }
}

fn item(publisher: usize, number: u64) -> Item {
    let key = DeviceKey::new(OrganizationId::default_organization(), DeviceId::new("boiler-1").unwrap());
    let data = RawValue::from_string(format!("[{publisher},{number}]")).unwrap();
    Item { kind: "event", key, data }
}

fn told_number(item: &Item) -> (usize, u64) {
    serde_json::from_str(item.data.get()).unwrap()
}

/// What a listener hears of an item.
#[derive(serde::Deserialize)]
struct Shown {
    position: String,
    data: (usize, u64),
}

/// What a listener is told of so many of the next entries at most.
fn next(reader: &mut Reader, backlog: &Backlog, most: usize) -> Vec<Told> {
    reader.take(reader.read(backlog, most), |_| true)
}

/// What may happen.
#[derive(Debug, Clone)]
enum Step {
    /// A publisher publishes.
    Publish(usize),
    /// A portal hears the next of a publisher.
    Hear(usize, usize),
    /// The next of a publisher does not reach a portal.
    Lose(usize, usize),
    /// A publisher says to a portal how far it is, and that has all up to then.
    Beacon(usize, usize),
    /// The listener reads.
    Read,
    /// The listener loses its connection after so many of what it read, and comes to a portal.
    Move(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (portal, publisher) = (0..2_usize, 0..3_usize);
    let step = prop_oneof![
        4 => publisher.clone().prop_map(Step::Publish),
        8 => (portal.clone(), publisher.clone()).prop_map(|(to, of)| Step::Hear(to, of)),
        1 => (portal.clone(), publisher.clone()).prop_map(|(to, of)| Step::Lose(to, of)),
        1 => (portal.clone(), publisher).prop_map(|(to, of)| Step::Beacon(to, of)),
        4 => Just(Step::Read),
        2 => (portal, 0..4_usize).prop_map(|(to, after)| Step::Move(to, after)),
    ];
    prop::collection::vec(step, 1..200)
}

struct World {
    published: [u64; 3],
    /// Of each portal and publisher, how far it has come with what it hears.
    heard: [[u64; 3]; 2],
    portals: [Backlog; 2],
    portal: usize,
    reader: Reader,
    position: Position,
    /// What the listener was told, and what of it since the last gap.
    all: BTreeSet<(usize, u64)>,
    since_gap: BTreeMap<usize, Vec<u64>>,
    gaps: usize,
    /// Not everything reaches all portals.
    lossy: bool,
}

const NOW: Duration = Duration::ZERO;

impl World {
    fn new(bounds: Bounds) -> Self {
        let mut portals = [Backlog::new(bounds), Backlog::new(bounds)];
        for portal in &mut portals {
            for publisher in 0..3 {
                portal.reached(&at(publisher, 0), NOW);
            }
        }
        let (reader, position) = Reader::begin(&portals[0], None, NOW);
        Self {
            published: [0; 3],
            heard: [[0; 3]; 2],
            portals,
            portal: 0,
            reader,
            position,
            all: BTreeSet::new(),
            since_gap: BTreeMap::new(),
            gaps: 0,
            lossy: false,
        }
    }

    /// Where the listener stands by what it was told without a gap before it.
    fn told_whole(&self) -> Position {
        let up_to = |publisher| (1..).take_while(|number| self.all.contains(&(publisher, *number))).count();
        Position((0..3).map(|of| (format!("p{of}").into(), up_to(of) as u64)).collect())
    }

    /// Reads so many, and forgets the rest of what was told, as whoever loses its connection does.
    fn read(&mut self, most: usize) {
        let told = next(&mut self.reader, &self.portals[self.portal], 8);
        for told in told.into_iter().take(most) {
            if matches!(told, Told::Gap) {
                let lost = self.portals[self.portal].has_lost(&self.told_whole());
                assert!(self.lossy || lost, "a gap is told, and all that was not told is kept");
                self.gaps += 1;
                self.since_gap.clear();
                continue;
            }
            let Shown { position, data } = serde_json::from_str(&told.frame().unwrap()).unwrap();
            let (publisher, number) = data;
            assert!(self.all.insert((publisher, number)), "told twice: {number} of {publisher}");
            self.since_gap.entry(publisher).or_default().push(number);
            self.position = position.parse().unwrap();
            assert!(self.position.of(&format!("p{publisher}")).unwrap() >= number);
        }
        for numbers in self.since_gap.values() {
            let whole = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
            assert!(whole, "something is missing, and no gap was told: {numbers:?}");
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Publish(publisher) => self.published[publisher] += 1,
            Step::Hear(portal, of) if self.heard[portal][of] < self.published[of] => {
                self.heard[portal][of] += 1;
                let number = self.heard[portal][of];
                self.portals[portal].push(&at(of, number), item(of, number), NOW);
            }
            Step::Lose(portal, of) if self.heard[portal][of] < self.published[of] => {
                self.heard[portal][of] += 1;
            }
            Step::Hear(..) | Step::Lose(..) => {}
            Step::Beacon(portal, of) => {
                let number = self.heard[portal][of];
                self.portals[portal].reached(&at(of, number), NOW);
            }
            Step::Read => self.read(usize::MAX),
            Step::Move(portal, after) => {
                self.read(after);
                self.portal = portal;
                let (reader, position) = Reader::begin(&self.portals[portal], Some(&self.position), NOW);
                assert_eq!(position, self.position);
                self.reader = reader;
            }
        }
    }

    /// Everything is heard, and read.
    fn settle(&mut self) {
        for portal in 0..2 {
            for publisher in 0..3 {
                while self.heard[portal][publisher] < self.published[publisher] {
                    self.take(Step::Hear(portal, publisher));
                }
                self.take(Step::Beacon(portal, publisher));
            }
        }
        for _ in 0..100 {
            self.read(usize::MAX);
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_told_twice_and_nothing_left_out_without_a_word(
        steps in steps(), entries in prop_oneof![Just(4_usize), Just(1_000)]
    ) {
        let mut world = World::new(Bounds { entries, bytes: usize::MAX });
        world.lossy = steps.iter().any(|step| matches!(step, Step::Lose(..)));
        let lossless = entries == 1_000 && !world.lossy;
        for step in steps {
            world.take(step);
        }
        world.settle();
        if lossless {
            prop_assert_eq!(world.gaps, 0, "nothing was lost");
            let all: u64 = world.published.iter().sum();
            prop_assert_eq!(world.all.len() as u64, all);
        } else if world.gaps == 0 {
            let all: u64 = world.published.iter().sum();
            prop_assert_eq!(world.all.len() as u64, all, "no gap was told");
        }
    }
}

fn backlog(entries: usize) -> Backlog {
    let mut backlog = Backlog::new(Bounds { entries, bytes: usize::MAX });
    backlog.reached(&at(0, 0), NOW);
    backlog
}

fn words(told: &[Told]) -> Vec<String> {
    let word = |told: &Told| match told {
        Told::Gap => "gap".to_owned(),
        Told::Item(entry, _) => entry.item.as_ref().unwrap().data.get().to_owned(),
    };
    told.iter().map(word).collect()
}

#[test]
fn a_slow_one_is_told_of_the_gap_and_goes_on_with_what_is_new() {
    let mut backlog = backlog(3);
    let (mut reader, _) = Reader::begin(&backlog, None, NOW);
    for number in 1..=9 {
        backlog.push(&at(0, number), item(0, number), NOW);
    }
    assert_eq!(words(&next(&mut reader, &backlog, 8)), ["gap"]);
    backlog.push(&at(0, 10), item(0, 10), NOW);
    assert_eq!(words(&next(&mut reader, &backlog, 8)), ["[0,10]"]);
}

/// What one at `since` is told when three more are heard before it reads, with five places, all taken by 3 to 7.
fn told_when_places_are_scarce(since: u64) -> Vec<String> {
    let mut backlog = backlog(5);
    for number in 1..=7 {
        backlog.push(&at(0, number), item(0, number), NOW);
    }
    let (mut reader, _) = Reader::begin(&backlog, Some(&position(&[("p0", since)])), NOW);
    for number in 8..=10 {
        backlog.push(&at(0, number), item(0, number), NOW);
    }
    words(&next(&mut reader, &backlog, 8))
}

#[test]
fn what_goes_while_one_comes_back_is_a_gap_only_if_it_had_not_had_that() {
    assert_eq!(told_when_places_are_scarce(7), ["[0,8]", "[0,9]", "[0,10]"]);
    assert_eq!(told_when_places_are_scarce(5), ["[0,6]", "[0,7]", "[0,8]", "[0,9]", "[0,10]"]);
    assert_eq!(
        told_when_places_are_scarce(4),
        ["gap"],
        "5 has gone, and it is not kept waiting for the rest"
    );
    let late = told_when_places_are_scarce(1);
    assert_eq!(late, ["gap", "[0,6]", "[0,7]", "[0,8]", "[0,9]", "[0,10]"], "one gap for all that has gone");
}

#[test]
fn who_comes_back_to_a_publisher_that_has_gone_is_told_of_a_gap_once() {
    let mut backlog = backlog(100);
    backlog.push(&at(0, 1), item(0, 1), NOW);
    let since = Position([("p9".into(), 4), ("p0".into(), 0)].into());
    let (mut reader, _) = Reader::begin(&backlog, Some(&since), NOW);
    assert_eq!(words(&next(&mut reader, &backlog, 8)), ["gap", "[0,1]"]);
    assert_eq!(words(&next(&mut reader, &backlog, 8)), [""; 0]);
}

#[test]
fn a_publisher_that_begins_later_is_heard_from_its_first_on() {
    let mut backlog = backlog(100);
    let since = backlog.position();
    backlog.reached(&at(1, 0), NOW);
    backlog.push(&at(1, 1), item(1, 1), NOW);
    let (mut reader, _) = Reader::begin(&backlog, Some(&since), NOW);
    assert_eq!(words(&next(&mut reader, &backlog, 8)), ["[1,1]"]);
}

#[test]
fn who_wants_little_is_told_little_and_moves_on() {
    let mut backlog = backlog(100);
    for number in 1..=20 {
        backlog.push(&at(0, number), item(0, number), NOW);
    }
    let since = Position([("p0".into(), 5)].into());
    let (mut reader, _) = Reader::begin(&backlog, Some(&since), NOW);
    let mut told = Vec::new();
    while reader.cursor() < backlog.end() {
        let batch = reader.read(&backlog, 8);
        told.extend(words(&reader.take(batch, |item| told_number(item).1.is_multiple_of(10))));
    }
    assert_eq!(told, ["[0,10]", "[0,20]"]);
}

#[test]
fn a_frame_is_made_once_for_all_who_listen() {
    let mut backlog = backlog(100);
    let since = Position([("p0".into(), 0)].into());
    let begin = |n| Reader::begin(&backlog, (n % 2 == 0).then_some(&since), NOW).0;
    let mut readers: Vec<_> = (0..1_000).map(begin).collect();
    for number in 1..=10 {
        backlog.push(&at(0, number), item(0, number), NOW);
    }
    let told = readers.iter_mut().flat_map(|reader| next(reader, &backlog, 64));
    let frames: Vec<_> = told.map(|told| told.frame().unwrap()).collect();
    // All are held, so none has the place of another.
    let made: BTreeSet<_> = frames.iter().map(|frame| frame.as_str().as_ptr()).collect();
    assert_eq!((frames.len(), made.len()), (10_000, 10));
}

/// Where it is told that it stands, and whether others are told the same.
fn stands(told: &Told) -> (Position, bool) {
    let shown: Shown = serde_json::from_str(&told.frame().unwrap()).unwrap();
    (shown.position.parse().unwrap(), matches!(told, Told::Item(_, None)))
}

fn position(of: &[(&str, u64)]) -> Position {
    Position(of.iter().map(|(name, number)| ((*name).into(), *number)).collect())
}

#[test]
fn who_had_more_has_positions_of_its_own_until_all_have_that() {
    let mut backlog = backlog(100);
    backlog.reached(&at(1, 0), NOW);
    let (mut reader, _) = Reader::begin(&backlog, Some(&position(&[("p0", 0), ("p1", 2)])), NOW);
    for (publisher, number) in [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3)] {
        backlog.push(&at(publisher, number), item(publisher, number), NOW);
    }
    let told = next(&mut reader, &backlog, 8);
    assert_eq!(words(&told), ["[0,1]", "[0,2]", "[0,3]"]);
    let own = |p0| (position(&[("p0", p0), ("p1", 2)]), false);
    assert_eq!(told.iter().map(stands).collect::<Vec<_>>(), [own(1), own(2), (own(3).0, true)]);
}

#[test]
fn a_publisher_that_stays_away_is_left_out_of_positions_in_the_end() {
    let mut backlog = backlog(100);
    let since = position(&[("p0", 0), ("p9", 4)]);
    let (mut reader, _) = Reader::begin(&backlog, Some(&since), NOW);
    backlog.push(&at(0, 1), item(0, 1), NOW + GONE - Duration::from_secs(1));
    backlog.push(&at(0, 2), item(0, 2), NOW + GONE);
    let told = next(&mut reader, &backlog, 8);
    assert_eq!(words(&told), ["gap", "[0,1]", "[0,2]"]);
    let told: Vec<_> = told[1..].iter().map(stands).collect();
    assert_eq!(told, [(position(&[("p0", 1), ("p9", 4)]), false), (position(&[("p0", 2)]), true)]);
    let (mut reader, _) = Reader::begin(&backlog, Some(&told[1].0), NOW);
    assert_eq!(words(&next(&mut reader, &backlog, 8)), [""; 0], "no gap is told again");
}
