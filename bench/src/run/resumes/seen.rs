//! What all clients have heard, held against each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use stoker_sim::SimConfig;

use super::book::Item;
use super::client::Heard;
use super::compare::Difference;
use super::filter::Filter;
use super::marks;
use super::plan::Kind;
use super::truth::Told;
use crate::histogram::Histogram;
use crate::report::{EXAMPLES, Report};

/// What all clients have heard.
pub(super) struct Seen<'a> {
    /// First of one for each filter that was never cut off, then of the others, which take the filters in turn.
    pub(super) heard: &'a [Heard],
    pub(super) filters: &'a [Filter],
    /// By number.
    pub(super) items: &'a [Arc<Item>],
    /// Everything that is told has one order, and not only what is told of one device.
    pub(super) ordered: bool,
}

/// What came of the clients of one filter.
#[derive(Default)]
struct Line {
    clients: u64,
    cuts: u64,
    /// To be told, and told, to all of them together.
    expected: u64,
    told: u64,
    difference: Difference,
}

fn count<T>(items: &[T]) -> u64 {
    items.len() as u64
}

impl Seen<'_> {
    fn item(&self, number: u32) -> Option<&Arc<Item>> {
        self.items.get(usize::try_from(number).ok()?)
    }

    /// Of what one has heard that which is compared: not what only tells where the end is, since others may have
    /// gone by then.
    fn compared(&self, heard: &Heard) -> Vec<u32> {
        let of_fleet =
            |number: &u32| self.item(*number).is_some_and(|item| !marks::is_of_the_end(&item.device));
        heard.items.iter().copied().filter(of_fleet).collect()
    }

    fn between(&self, expected: &[u32], told: &[u32]) -> Difference {
        if self.ordered {
            return Difference::between(expected, told);
        }
        let mut devices: HashMap<&str, u32> = HashMap::new();
        let mut streams = Vec::with_capacity(self.items.len());
        for item in self.items {
            let next = u32::try_from(devices.len()).unwrap_or(u32::MAX);
            streams.push(*devices.entry(&item.device).or_insert(next));
        }
        let stream = |number| usize::try_from(number).ok().and_then(|at| streams.get(at)).copied();
        Difference::by_stream(expected, told, |number| stream(number).unwrap_or(u32::MAX))
    }

    fn show(&self, what: &str, numbers: &[u32]) {
        for number in numbers.iter().take(EXAMPLES) {
            eprintln!("{what}: {}", self.item(*number).map(|item| item.shown()).unwrap_or_default());
        }
    }

    /// By what all others are measured: whether who was never cut off heard all that it was to hear. What everybody hears
    /// is told to who asks for everything.
    fn uncut(&self, report: &mut Report) {
        let Some(everything) = self.heard.first().map(|heard| self.compared(heard)) else { return };
        let mut other = Difference::default();
        for (filter, heard) in self.filters.iter().zip(self.heard) {
            let wanted =
                |number: &u32| self.item(*number).is_some_and(|item| filter.wants(&item.kind, &item.device));
            let expected: Vec<u32> = everything.iter().copied().filter(wanted).collect();
            other.add(self.between(&expected, &self.compared(heard)));
        }
        self.show("a filter left out", &other.missing);
        self.show("a filter let through", &other.repeated);
        let wrong = count(&other.missing) + count(&other.repeated) + count(&other.moved);
        report.exactly("items that are not told by a filter as they are without one", 0, wrong);
    }

    /// Those who were cut off, by filter, against who was not.
    fn lines(&self) -> Vec<Line> {
        let uncut: Vec<Vec<u32>> =
            self.heard.iter().take(self.filters.len()).map(|heard| self.compared(heard)).collect();
        let mut lines: Vec<Line> = self.filters.iter().map(|_| Line::default()).collect();
        for (index, heard) in self.heard.iter().skip(self.filters.len()).enumerate() {
            let at = index % self.filters.len().max(1);
            let (Some(line), Some(expected)) = (lines.get_mut(at), uncut.get(at)) else { continue };
            let told = self.compared(heard);
            line.clients += 1;
            line.cuts += heard.cuts.values().sum::<u64>();
            line.expected += count(expected);
            line.told += count(&told);
            line.difference.add(self.between(expected, &told));
        }
        lines
    }

    /// Holds those who were cut off against those who were not.
    pub(super) fn judge(&self, report: &mut Report, cuts: u32, took: Duration) {
        let sum = |of: fn(&Heard) -> u64| self.heard.iter().map(of).sum::<u64>();
        for kind in Kind::ALL {
            let of_kind = self.heard.iter().filter_map(|heard| heard.cuts.get(&kind));
            report.count(format!("cuts {}", kind.name()), of_kind.sum());
        }
        report.number("from the first cut to the last", took.as_secs_f64(), "s");
        let told: u64 = self.heard.iter().map(|heard| count(&heard.items)).sum();
        report.count("items told to all clients together", told);
        let everything = self.heard.first().map_or(0, |heard| count(&heard.items));
        report.count("items told to who heard everything", everything);
        report.count("connections that the portal ended by itself", sum(|heard| heard.sent_away));
        report.count("dials that came to no hello", sum(|heard| heard.refused));
        let mut let_in = Histogram::default();
        self.heard.iter().for_each(|heard| let_in.add(&heard.let_in));
        report.times("from a dial to its hello", &let_in);

        let lines = self.lines();
        let head = ["clients", "cuts", "to be told", "told", "missing", "repeated", "elsewhere"];
        let table = self.filters.iter().zip(&lines).map(|(filter, line)| {
            let Difference { missing, repeated, moved } = &line.difference;
            let differences = [missing, repeated, moved].map(|numbers| count(numbers));
            let counts = [line.clients, line.cuts, line.expected, line.told].into_iter().chain(differences);
            (filter.name.clone(), counts.map(|count| count as f64).collect())
        });
        report.named(
            "clients that were cut off, by what they listen to",
            head.map(ToOwned::to_owned).into(),
            table.collect(),
        );
        self.uncut(report);
        let mut all = Difference::default();
        let (mut expected, mut compared) = (0, 0);
        for line in lines {
            expected += line.expected;
            compared += line.told;
            all.add(line.difference);
        }
        self.show("missing", &all.missing);
        self.show("repeated", &all.repeated);
        self.show("elsewhere", &all.moved);
        report.exactly(
            "cuts after which the client was let in again",
            cuts.into(),
            sum(|heard| heard.resumed),
        );
        report.exactly("items told to clients that were cut off", expected, compared);
        report.exactly("items that are missing", 0, count(&all.missing));
        report.exactly("items that came again, or that nobody else was told", 0, count(&all.repeated));
        report.exactly("items that came in another order", 0, count(&all.moved));
        report.exactly("gaps that were told", 0, sum(|heard| heard.gaps));
        report.exactly(
            "hellos that name another position than the given one",
            0,
            sum(|heard| heard.moved_hellos),
        );
        report.exactly("positions that came again", 0, sum(|heard| heard.positions_again));
        let to_the_end = self.heard.iter().filter(|heard| heard.to_the_end).count() as u64;
        report.exactly("clients that heard it to the end", count(self.heard), to_the_end);
    }

    /// Everything that was told, as who asks for everything and was never cut off heard it.
    pub(super) fn told(&self, config: &SimConfig) -> Result<Told<'_>> {
        let heard = self.heard.first().context("nobody listened")?;
        Told::new(heard.items.iter().filter_map(|number| self.item(*number)), config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it holds when who was never cut off heard three events of two devices, and this another one.
    fn holds(told: &[u32], ordered: bool) -> bool {
        let item = |device: &str, data: &str| {
            Arc::new(Item { kind: "event".into(), device: device.into(), data: data.into() })
        };
        let items = [item("boiler-1", "1"), item("boiler-1", "2"), item("boiler-2", "3"), item("end-1", "4")];
        let filters = Filter::all("boiler-1", "boiler-1*", marks::PATTERN);
        let heard = |items: &[u32]| Heard { items: items.to_vec(), to_the_end: true, ..Heard::default() };
        let uncut = filters.iter().map(|filter| {
            let wanted = |number: &u32| {
                let item = &items[usize::try_from(*number).unwrap()];
                filter.wants(&item.kind, &item.device)
            };
            heard(&[0, 1, 2, 3].into_iter().filter(wanted).collect::<Vec<u32>>())
        });
        let heard: Vec<Heard> = uncut.chain([heard(told)]).collect();
        let seen = Seen { heard: &heard, filters: &filters, items: &items, ordered };
        let mut report = Report::new("x");
        seen.judge(&mut report, 0, Duration::ZERO);
        report.holds()
    }

    #[test]
    fn whoever_heard_the_same_heard_all() {
        assert!(holds(&[0, 1, 2, 3], true) && holds(&[0, 1, 2], true), "what tells the end is not compared");
    }

    #[test]
    fn what_is_missing_or_comes_again_breaks_the_run() {
        for told in [&[0, 1][..], &[0, 1, 1, 2], &[0, 0, 2], &[]] {
            assert!(!holds(told, true) && !holds(told, false), "{told:?}");
        }
    }

    #[test]
    fn several_cores_keep_the_order_of_each_device() {
        assert!(!holds(&[0, 2, 1], true) && holds(&[0, 2, 1], false));
        assert!(!holds(&[1, 0, 2], false));
    }
}
