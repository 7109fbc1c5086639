//! Figures with their spread. In: values of rounds. Out: rows of text.

/// The values of a figure, one for each round.
#[derive(Clone, Debug, Default)]
pub struct Figure(Vec<f64>);

impl Figure {
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            length if length % 2 == 1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        }
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// From the smallest to the largest.
    pub fn spread(&self, decimals: usize) -> String {
        format!("{:.decimals$}–{:.decimals$}", self.least(), self.most())
    }

    pub fn times(&self, by: f64) -> Figure {
        Figure(self.0.iter().map(|value| value * by).collect())
    }

    /// Round by round, so that drift between rounds cancels out.
    pub fn over(&self, other: &Figure) -> Figure {
        Figure(self.0.iter().zip(&other.0).map(|(value, by)| value / by).collect())
    }
}
