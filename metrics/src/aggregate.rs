//! What is kept of the values of one series in one interval.

/// Count, sum, extremes and spread of values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Aggregate {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub sum_of_squares: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The newest.
    pub last: f64,
}

impl Aggregate {
    /// One more value.
    pub fn add(&mut self, value: f64) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.count += 1;
        self.sum += value;
        self.sum_of_squares += value * value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
    }

    /// The mean; 0 of nothing.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The standard deviation, taking the values for a sample of more; 0 for fewer than two.
    pub fn deviation(&self) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let count = self.count as f64;
        let spread = (count * self.sum_of_squares - self.sum * self.sum) / (count * (count - 1.0));
        spread.max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_values() {
        let mut values = Aggregate::default();
        assert_eq!((values.mean(), values.deviation()), (0.0, 0.0));
        [2.0, 4.0, 9.0].into_iter().for_each(|value| values.add(value));
        assert_eq!((values.count, values.sum, values.min, values.max, values.last), (3, 15.0, 2.0, 9.0, 9.0));
        assert_eq!(values.mean(), 5.0);
        assert!((values.deviation() - 13.0_f64.sqrt()).abs() < 1e-12);
    }
}
