//! The thermal model of a boiler: pure, and the same for the same seed, index and steps.
//!
//! A burner heats the supply; water carries heat to the return; radiators give it to rooms of 20 °C, more of it the
//! colder it is outside. A two-point controller keeps the supply near its setpoint.

use std::f64::consts::TAU;
use std::io::Write;

use stoker_domain::Millis;

use crate::fault::{FLAME_LOST, Fault, FaultChange, FaultPlan, Faults, LOW_PRESSURE, SENSOR_DRIFT};
use crate::random::Random;

/// What a setpoint may be, in °C: below, nothing gets warm; above, water gets near boiling.
pub const SETPOINT_RANGE: std::ops::RangeInclusive<f64> = 20.0..=85.0;

/// The room, in °C.
const ROOM: f64 = 20.0;
/// The burner, in watts.
const BURNER: f64 = 24_000.0;
/// Water and metal of either side, in joules per kelvin: about 40 litres.
const CAPACITY: f64 = 170_000.0;
/// What the pump carries from supply to return, in watts per kelvin.
const FLOW: f64 = 1_000.0;
/// The flame goes on so far below the setpoint, and off so far above.
const HYSTERESIS: (f64, f64) = (4.0, 3.0);
/// The longest piece that is calculated at once, in ms: well below the shortest time constant (85 s).
const PIECE_MS: u64 = 10_000;
/// The longest step: a boiler that was not looked at for longer has stood still meanwhile.
const STEP_MAX_MS: u64 = 24 * 3_600_000;

/// What the sensors of a boiler show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Readings {
    /// °C.
    pub t_supply: f64,
    /// °C.
    pub t_return: f64,
    /// °C.
    pub t_setpoint: f64,
    /// bar.
    pub pressure: f64,
    /// The burner is on.
    pub flame: bool,
}

impl Readings {
    /// Appends them as telemetry, with a time of their own or without, and with so many further keys (`x1`, `x2`, …)
    /// that only make the message larger.
    pub fn write(&self, ts: Option<Millis>, extra_keys: u16, out: &mut Vec<u8>) {
        // Writing into a Vec can't fail.
        let _ = self.try_write(ts, extra_keys, out);
    }

    fn try_write(&self, ts: Option<Millis>, extra_keys: u16, out: &mut Vec<u8>) -> std::io::Result<()> {
        if let Some(ts) = ts {
            write!(out, r#"{{"ts":{ts},"values":"#)?;
        }
        write!(
            out,
            r#"{{"t_supply":{:.2},"t_return":{:.2},"t_setpoint":{:.1},"pressure":{:.2},"flame":{}"#,
            self.t_supply, self.t_return, self.t_setpoint, self.pressure, self.flame
        )?;
        for key in 1..=extra_keys {
            write!(out, r#","x{key}":{:.2}"#, self.t_supply + f64::from(key))?;
        }
        out.push(b'}');
        if ts.is_some() {
            out.push(b'}');
        }
        Ok(())
    }
}

/// One simulated boiler.
#[derive(Debug, Clone)]
pub struct Boiler {
    noise: Random,
    faults: Faults,
    /// Simulated milliseconds since it was made.
    clock_ms: u64,
    /// Where it stands in its day when it is made, in ms: boilers are everywhere on earth.
    day_offset_ms: f64,
    /// °C outside, on average over the day.
    climate: f64,
    /// What the radiators give off on the coldest day, in watts per kelvin.
    radiators: f64,
    /// bar, when cold.
    filling: f64,
    t_supply: f64,
    t_return: f64,
    setpoint: f64,
    pressure: f64,
    flame: bool,
    drift: f64,
}

impl Boiler {
    /// The boiler with that number of the fleet with that seed.
    #[must_use]
    pub fn new(seed: u64, index: u32, plan: FaultPlan) -> Self {
        let stream = u64::from(index) * 4;
        let mut nature = Random::new(seed, stream);
        let setpoint = (nature.between(55.0, 72.0) * 2.0).round() / 2.0;
        let filling = nature.between(1.3, 1.7);
        Self {
            noise: Random::new(seed, stream + 1),
            faults: Faults::new(plan, Random::new(seed, stream + 2)),
            clock_ms: 0,
            day_offset_ms: nature.between(0.0, 86_400_000.0),
            climate: nature.between(-4.0, 12.0),
            radiators: nature.between(220.0, 320.0),
            filling,
            // In the middle of its work, so that a fresh fleet doesn't move in step.
            t_supply: nature.between(setpoint - HYSTERESIS.0, setpoint + HYSTERESIS.1),
            t_return: setpoint - nature.between(6.0, 14.0),
            setpoint,
            pressure: filling,
            flame: nature.unit() < 0.3,
            drift: 0.0,
        }
    }

    /// Lets time pass, at most a day at once.
    pub fn step(&mut self, dt_ms: u64) {
        let mut left = dt_ms.min(STEP_MAX_MS);
        while left > 0 {
            let piece = left.min(PIECE_MS);
            left -= piece;
            self.clock_ms += piece;
            self.faults.advance(self.clock_ms as f64);
            self.piece(piece as f64 / 1000.0);
        }
    }

    /// °C outside at this time of its day.
    #[must_use]
    pub fn t_outside(&self) -> f64 {
        let day = (self.clock_ms as f64 + self.day_offset_ms) / 86_400_000.0;
        // Coldest at three, warmest at fifteen o'clock.
        self.climate + 6.0 * (TAU * (day - 0.375)).sin()
    }

    fn piece(&mut self, dt: f64) {
        let fault = self.faults.active();
        let lost = fault == Some(&FLAME_LOST);
        let low = fault == Some(&LOW_PRESSURE);
        if lost || self.t_supply > self.setpoint + HYSTERESIS.1 {
            self.flame = false;
        } else if self.t_supply < self.setpoint - HYSTERESIS.0 {
            self.flame = true;
        }
        let burner = match (self.flame, low) {
            (false, _) => 0.0,
            (true, false) => BURNER,
            (true, true) => BURNER / 2.0,
        };
        let demand = ((ROOM - self.t_outside()) / 30.0).clamp(0.15, 1.0);
        let mean = f64::midpoint(self.t_supply, self.t_return);
        let carried = FLOW * (self.t_supply - self.t_return);
        let given_off = self.radiators * demand * (mean - ROOM);
        self.t_supply += (burner - carried) / CAPACITY * dt;
        self.t_return += (carried - given_off) / CAPACITY * dt;
        // Warm water takes more room.
        let target = if low { 0.6 } else { self.filling + 0.008 * (mean - 40.0) };
        self.pressure += (target - self.pressure) * (dt / 60.0).min(1.0);
        self.drift = if fault == Some(&SENSOR_DRIFT) { (self.drift + 0.02 * dt).min(12.0) } else { 0.0 };
    }

    /// What the sensors show now; they tremble a little.
    pub fn readings(&mut self) -> Readings {
        let mut tremble = |by: f64| self.noise.between(-by, by);
        Readings {
            t_supply: self.t_supply + tremble(0.05),
            t_return: self.t_return + self.drift + tremble(0.05),
            t_setpoint: self.setpoint,
            pressure: self.pressure + tremble(0.005),
            flame: self.flame,
        }
    }

    /// The setpoint in °C.
    #[must_use]
    pub fn setpoint(&self) -> f64 {
        self.setpoint
    }

    /// Sets it; false when it lies outside [`SETPOINT_RANGE`], and nothing is changed.
    pub fn write_setpoint(&mut self, celsius: f64) -> bool {
        let fits = SETPOINT_RANGE.contains(&celsius);
        if fits {
            self.setpoint = celsius;
        }
        fits
    }

    /// The fault that is there.
    #[must_use]
    pub fn fault(&self) -> Option<&'static Fault> {
        self.faults.active()
    }

    /// Ends the fault that is there and tells which it was.
    pub fn reset_fault(&mut self) -> Option<&'static Fault> {
        self.faults.clear(self.clock_ms as f64)
    }

    /// Brings a fault about, in place of another one that is there.
    pub fn raise_fault(&mut self, fault: &'static Fault) {
        self.faults.raise(fault, self.clock_ms as f64);
    }

    /// The next fault that has come or gone and was not asked for yet, oldest first.
    pub fn next_change(&mut self) -> Option<FaultChange> {
        self.faults.next_change()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FAULTS;

    /// No fault comes by itself, and one that is brought about stays.
    const CALM: FaultPlan = FaultPlan { per_hour: 0.0, mean_s: 1e9 };
    const BUSY: FaultPlan = FaultPlan { per_hour: 6.0, mean_s: 120.0 };

    fn day(boiler: &mut Boiler, mut look: impl FnMut(&mut Boiler)) {
        for _ in 0..8_640 {
            boiler.step(10_000);
            look(boiler);
        }
    }

    #[test]
    fn a_boiler_is_the_same_for_the_same_seed_and_index_and_no_other() {
        let story = |seed, index| {
            let mut boiler = Boiler::new(seed, index, BUSY);
            let mut story = Vec::new();
            for _ in 0..500 {
                boiler.step(10_000);
                boiler.readings().write(None, 0, &mut story);
                while let Some(change) = boiler.next_change() {
                    story.extend_from_slice(change.fault.code.as_bytes());
                }
            }
            story
        };
        assert_eq!(story(7, 3), story(7, 3));
        assert_ne!(story(7, 3), story(7, 4));
        assert_ne!(story(7, 3), story(8, 3));
    }

    #[test]
    fn a_day_without_faults_stays_near_the_setpoint() {
        for index in 0..50 {
            let mut boiler = Boiler::new(1, index, CALM);
            boiler.step(3_600_000);
            let (mut on, mut off) = (0, 0);
            day(&mut boiler, |boiler| {
                let seen = boiler.readings();
                assert!((seen.t_setpoint - 8.0..seen.t_setpoint + 6.0).contains(&seen.t_supply), "{seen:?}");
                assert!(seen.t_return < seen.t_supply && seen.t_return > ROOM, "{seen:?}");
                assert!((1.0..2.5).contains(&seen.pressure), "{seen:?}");
                if seen.flame { on += 1 } else { off += 1 }
            });
            assert!(on > 100 && off > 100, "the burner works and rests: {on} on, {off} off");
        }
    }

    #[test]
    fn days_of_many_faults_stay_possible() {
        for index in 0..20 {
            let mut boiler = Boiler::new(2, index, FaultPlan { per_hour: 30.0, mean_s: 600.0 });
            day(&mut boiler, |boiler| {
                while boiler.next_change().is_some() {}
                let seen = boiler.readings();
                assert!((15.0..95.0).contains(&seen.t_supply), "{seen:?}");
                assert!((10.0..105.0).contains(&seen.t_return), "{seen:?}");
                assert!((0.3..3.0).contains(&seen.pressure), "{seen:?}");
            });
        }
    }

    #[test]
    fn a_lost_flame_lets_the_supply_fall_until_the_fault_is_reset() {
        let mut boiler = Boiler::new(3, 1, CALM);
        boiler.step(3_600_000);
        let before = boiler.readings().t_supply;
        boiler.raise_fault(&FLAME_LOST);
        boiler.step(600_000);
        let cold = boiler.readings();
        assert!(!cold.flame && cold.t_supply < before - 8.0, "{before} {cold:?}");
        assert_eq!(boiler.reset_fault().map(|fault| fault.code), Some("E42"));
        boiler.step(1_800_000);
        assert!(boiler.readings().t_supply > boiler.setpoint() - 8.0);
    }

    #[test]
    fn each_other_fault_shows_where_it_should() {
        let with = |fault: Option<&'static Fault>| {
            let mut boiler = Boiler::new(3, 2, CALM);
            fault.into_iter().for_each(|fault| boiler.raise_fault(fault));
            boiler.step(900_000);
            boiler.readings()
        };
        assert!(with(Some(&LOW_PRESSURE)).pressure < 0.8);
        assert!(with(Some(&SENSOR_DRIFT)).t_return > with(None).t_return + 8.0);
    }

    #[test]
    fn faults_come_and_go_in_turn_at_about_the_rate_that_was_planned() {
        let mut raised = 0;
        let mut codes = std::collections::BTreeSet::new();
        for index in 0..50 {
            let mut boiler = Boiler::new(4, index, BUSY);
            let mut active = None;
            day(&mut boiler, |boiler| {
                while let Some(change) = boiler.next_change() {
                    assert_eq!(change.cleared, active.is_some(), "one at a time");
                    assert!(!change.cleared || active == Some(change.fault), "what goes is what came");
                    active = if change.cleared { None } else { Some(change.fault) };
                    raised += usize::from(!change.cleared);
                    codes.insert(change.fault.code);
                }
                assert_eq!(active, boiler.fault());
            });
        }
        // Six an hour, each followed by two minutes in which no other comes: five an hour.
        let hourly = raised as f64 / 50.0 / 24.0;
        assert!((4.5..5.5).contains(&hourly), "{hourly}");
        assert_eq!(codes.len(), FAULTS.len());
    }

    #[test]
    fn the_length_of_steps_changes_no_fault() {
        let changes = |step: u64| {
            let mut boiler = Boiler::new(5, 9, BUSY);
            (0..86_400_000 / step).for_each(|_| boiler.step(step));
            std::iter::from_fn(|| boiler.next_change()).collect::<Vec<_>>()
        };
        assert!(changes(1_000).len() > 50);
        assert_eq!(changes(1_000), changes(3_600_000));
    }

    #[test]
    fn readings_are_telemetry_that_the_platform_takes() {
        use stoker_domain::payload::{PayloadLimits, telemetry};
        let readings =
            Readings { t_supply: 71.254, t_return: 55.0, t_setpoint: 70.5, pressure: 1.42, flame: true };
        let mut plain = Vec::new();
        readings.write(None, 0, &mut plain);
        assert_eq!(
            String::from_utf8(plain).unwrap(),
            r#"{"t_supply":71.25,"t_return":55.00,"t_setpoint":70.5,"pressure":1.42,"flame":true}"#
        );
        let mut large = Vec::new();
        readings.write(Some(1_700_000_000_000), 251, &mut large);
        let points = telemetry(&large, 1_700_000_000_000, &mut || 0, &PayloadLimits::default()).unwrap();
        assert_eq!(points.len(), 256);
        assert!(points.iter().all(|point| point.ts == 1_700_000_000_000));
    }
}
