//! Where a value lies on a chart, in percent of its width.

use crate::units::Unit;

/// From this ratio of the largest to the smallest value on, distances say less than factors.
const LOGARITHMIC: f64 = 8.0;

/// No more marks than these.
const MARKS: usize = 5;

/// A scale with its marks.
#[derive(Clone, Debug)]
pub struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    /// The scale that some values fit on.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| *value > 0.0 && value.is_finite()) {
            least = least.min(value);
            most = most.max(value);
        }
        if least > most {
            (least, most) = (1.0, 1.0);
        }
        if most / least < LOGARITHMIC {
            return Self {
                low: 0.0,
                high: most * 1.05,
                logarithmic: false,
            };
        }
        Self {
            low: least / 1.5,
            high: most * 1.5,
            logarithmic: true,
        }
    }

    /// A scale of factors, with 1 on it.
    pub fn around_one(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (0.5_f64, 2.0_f64);
        for value in values.filter(|value| *value > 0.0 && value.is_finite()) {
            low = low.min(value / 1.3);
            high = high.max(value * 1.3);
        }
        Self {
            low,
            high,
            logarithmic: true,
        }
    }

    /// Whether equal distances are equal factors.
    pub fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }

    /// Where a value lies, from 0 to 100.
    pub fn place(&self, value: f64) -> f64 {
        let share = match self.logarithmic {
            false => (value - self.low) / (self.high - self.low),
            true => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        // What is beyond the ends, as a zero is on a logarithmic scale, stands at the end.
        if share.is_nan() {
            0.0
        } else {
            share.clamp(0.0, 1.0) * 100.0
        }
    }

    /// The values that have a mark: round ones in that unit.
    pub fn marks(&self, unit: Unit) -> Vec<f64> {
        match self.logarithmic {
            true => self.powers(unit),
            false => self.multiples(unit.step(self.high).0),
        }
    }

    fn multiples(&self, size: f64) -> Vec<f64> {
        let rough = self.high / size / MARKS as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
        let step = steps.into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power) * size;
        let values = (0..=MARKS).map(|index| step * index as f64);
        values.filter(|value| *value <= self.high).collect()
    }

    fn powers(&self, unit: Unit) -> Vec<f64> {
        // Two steps of 32 are one from KiB to MiB.
        let base: f64 = if unit.is_binary() { 32.0 } else { 10.0 };
        let first = self.low.log(base).ceil() as i32;
        let last = self.high.log(base).floor() as i32;
        let count = usize::try_from(last - first + 1).unwrap_or(0);
        let every = i32::try_from(count.div_ceil(MARKS).max(1)).unwrap_or(1);
        // Such that 1 is among them where it can be.
        let powers: Vec<f64> = (first..=last)
            .filter(|power| power.rem_euclid(every) == 0)
            .map(|power| base.powi(power))
            .collect();
        if powers.len() > 1 {
            return powers;
        }
        let between = (first - 1..=last)
            .flat_map(|power| [1.0, base.sqrt().round()].map(|digit| digit * base.powi(power)));
        between
            .filter(|value| (self.low..=self.high).contains(value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_lies_on_a_scale_that_begins_at_zero() {
        let axis = Axis::of([80.0, 100.0].into_iter());
        assert!(!axis.is_logarithmic());
        assert_eq!(axis.place(0.0), 0.0);
        assert!((axis.place(100.0) - 95.24).abs() < 0.01);
        assert_eq!(axis.marks(Unit::Count), [0.0, 25.0, 50.0, 75.0, 100.0]);
    }

    #[test]
    fn what_is_far_lies_on_a_logarithmic_scale() {
        let axis = Axis::of([3e-7, 2e-4].into_iter());
        assert!(axis.is_logarithmic());
        assert_eq!(axis.marks(Unit::Count).len(), 3);
        assert!(axis.place(1e-6) < axis.place(1e-5));
        assert_eq!(axis.place(0.0), 0.0);
    }

    #[test]
    fn factors_have_one_in_the_middle() {
        let axis = Axis::around_one([1.1, 0.9].into_iter());
        assert_eq!(axis.place(1.0), 50.0);
        assert!(axis.marks(Unit::Count).contains(&1.0));
        let axis = Axis::around_one([100_000.0].into_iter());
        assert!(
            axis.marks(Unit::Count).contains(&1.0) && axis.marks(Unit::Count).len() <= MARKS + 1
        );
    }

    #[test]
    fn marks_are_round_in_their_unit() {
        let mebi = 1_048_576.0;
        let axis = Axis::of([19.0 * mebi].into_iter());
        assert_eq!(
            axis.marks(Unit::Bytes),
            [0.0, 5.0, 10.0, 15.0].map(|mark| mark * mebi)
        );
        let axis = Axis::of([1000.0, 2e9].into_iter());
        let marks = axis.marks(Unit::BytesPerSecond);
        assert!(marks.contains(&mebi), "{marks:?}");
    }

    #[test]
    fn nothing_at_all_has_a_scale_too() {
        assert_eq!(Axis::of(std::iter::empty()).place(f64::NAN), 0.0);
    }
}
