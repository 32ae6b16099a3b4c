//! Medians, how sure they are, and which samples lie far from the others.

use serde::{Deserialize, Serialize};

/// A median, and where it is expected when everything is measured again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The median.
    pub median: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// How the intervals are made, for the reader of a report.
pub const METHOD: &str = "Medians. The intervals are where all medians of another run on the same machine are expected, in 95 of 100 such runs: the order-statistic interval of at least 99 % for one median \
(with fewer than 8 rounds that of all samples, and all that follows wider in proportion), made wider by the square root of 2, because the other run has as much chance in it, by 1.6, because with about 30 figures \
one or two would lie outside otherwise, to hold the medians of each third of the rounds, and to at least 5 % on both sides, because two runs differ in more than their rounds. Samples beyond Tukey's fences (1.5 interquartile ranges beyond the quartiles) are shown as \
outliers, and kept.";

/// How often the median of what was sampled may lie outside the interval that is made wider.
const MISSED: f64 = 0.01;

/// The normal distribution's quantile for 5 % shared out among 30 figures (Bonferroni) over that for 5 %: 3.14 to 1.96.
const ALL_FIGURES: f64 = 1.6;

/// What two runs differ by in any case: the addresses of their memory, what else the machine's caches hold.
const BETWEEN_RUNS: f64 = 0.05;

/// With fewer samples than these even all of them cover less than is wanted.
const ENOUGH: usize = 8;

/// From so many samples on a third of them says something.
const THIRDS: usize = 9;

impl Interval {
    /// The interval of some samples, if there are any.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples);
        let median = middle(&sorted)?;
        let skipped = order(sorted.len());
        let (low, high) = (sorted[skipped], sorted[sorted.len() - 1 - skipped]);
        let few = (ENOUGH as f64 / sorted.len() as f64).max(1.0);
        let wider = std::f64::consts::SQRT_2 * ALL_FIGURES * few;
        let floor = median.abs() * BETWEEN_RUNS * few;
        let mut interval = Self {
            median,
            low: median - ((median - low) * wider).max(floor),
            high: median + ((high - median) * wider).max(floor),
        };
        if samples.len() >= THIRDS {
            let third = samples.len().div_ceil(3);
            let medians = samples
                .chunks(third)
                .filter_map(|chunk| middle(&self::sorted(chunk)));
            for median in medians {
                interval.low = interval.low.min(median);
                interval.high = interval.high.max(median);
            }
        }
        // What is measured here is never negative.
        interval.low = interval.low.max(0.0);
        Some(interval)
    }

    /// Whether a value lies within it.
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

/// How many of the smallest and of the largest samples the interval for the median leaves out: the number of samples below the median is
/// binomially distributed, with one half.
fn order(count: usize) -> usize {
    let mut probability = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut below = 0.0;
    let mut skipped = 0;
    while skipped < count / 2 {
        below += probability;
        if 2.0 * below > MISSED {
            break;
        }
        probability *= (count - skipped) as f64 / (skipped + 1) as f64;
        skipped += 1;
    }
    skipped.saturating_sub(1)
}

/// The indices of the samples beyond Tukey's fences.
pub fn outliers(samples: &[f64]) -> Vec<usize> {
    let sorted = sorted(samples);
    if sorted.len() < 4 {
        return Vec::new();
    }
    let (first, third) = (quantile(&sorted, 0.25), quantile(&sorted, 0.75));
    let fence = 1.5 * (third - first);
    let beyond = |sample: f64| sample < first - fence || sample > third + fence;
    (0..samples.len())
        .filter(|index| beyond(samples[*index]))
        .collect()
}

/// Between the two samples next to the place, in proportion.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> Vec<f64> {
        (1..=count).map(|number| number as f64).collect()
    }

    #[test]
    fn the_order_statistics_are_those_of_the_tables() {
        // Conover, Practical Nonparametric Statistics: 8 samples are the first that reach 99 %, with all of them.
        let expected = [
            (1, 0),
            (5, 0),
            (8, 0),
            (11, 0),
            (12, 1),
            (15, 2),
            (20, 3),
            (25, 5),
        ];
        for (count, skipped) in expected {
            assert_eq!(order(count), skipped, "{count} samples");
        }
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(Interval::of(&[]), None);
        let median = |samples: &[f64]| Interval::of(samples).map(|interval| interval.median);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn an_interval_is_wider_than_that_of_this_run_alone() {
        let interval = Interval::of(&numbers(20)).expect("samples");
        // The fourth and the seventeenth of 20, 6.5 from the median.
        let wide = 6.5 * std::f64::consts::SQRT_2 * ALL_FIGURES;
        assert!(interval.low <= (10.5 - wide).max(0.0) && interval.high >= 10.5 + wide);
        let still = Interval::of(&[100.0; 10]).expect("samples");
        assert_eq!((still.low, still.high), (95.0, 105.0));
    }

    #[test]
    fn few_samples_say_little() {
        let of = |count| Interval::of(&vec![100.0; count]).expect("samples");
        assert_eq!((of(1).low, of(1).high), (60.0, 140.0));
        assert_eq!((of(4).low, of(4).high), (90.0, 110.0));
        assert_eq!(of(8), of(60));
    }

    #[test]
    fn an_interval_holds_what_a_part_of_the_run_saw() {
        // A machine that became slower after two thirds of the time.
        let samples = [vec![10.0; 20], vec![20.0; 10]].concat();
        let interval = Interval::of(&samples).expect("samples");
        assert_eq!(interval.median, 10.0);
        assert!(interval.high >= 20.0);
    }

    #[test]
    fn another_run_of_the_same_lies_within() {
        // Two runs of 30 figures of 12 samples each from one skewed distribution, 200 times.
        let mut state = 1_u64;
        let mut sample = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let uniform = (state >> 11) as f64 / (1_u64 << 53) as f64;
            1.0 - (1.0 - uniform).ln()
        };
        let mut figure =
            || Interval::of(&Vec::from_iter((0..12).map(|_| sample()))).expect("samples");
        let mut within = || {
            let mut figures = (0..30).map(|_| (figure(), figure()));
            figures.all(|(first, second)| first.holds(second.median))
        };
        let reports = (0..200).filter(|_| within()).count();
        assert!(reports >= 190, "{reports} of 200");
    }

    #[test]
    fn outliers_lie_beyond_the_fences() {
        assert_eq!(outliers(&[1.0, 1.1, 9.0, 0.9, 1.0, 1.05]), [2]);
        assert_eq!(outliers(&numbers(20)), [0; 0]);
        assert_eq!(outliers(&[1.0, 50.0]), [0; 0]);
    }
}
