//! The Runge-Kutta rules: where velocities are taken and how they are averaged.

/// Which coefficients the stages and states of orders 2 and 3 use; orders 1 and 4 have one rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum StageRule {
    /// As published: one slope for all states. The first state has order 1, 2, 2, the others order 1.
    #[default]
    Paper,
    /// The same times, other coefficients: the first state has order 1, 2, 3, the others order 2.
    Corrected,
}

/// Where the velocity k_i is taken: at `x − h Σ coefficients · k` and time `t − node · h`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Steps h from t toward the data.
    pub node: f64,
    /// One for each earlier velocity k_1 … k_{i−1}.
    pub coefficients: &'static [f64],
}

/// State j of a step is `x − steps · h · Σ weights · k`.
#[derive(Clone, Copy)]
pub(super) struct State {
    pub(super) steps: f64,
    pub(super) weights: &'static [f64],
}

const fn stage(node: f64, coefficients: &'static [f64]) -> Stage {
    Stage { node, coefficients }
}

const fn state(steps: f64, weights: &'static [f64]) -> State {
    State { steps, weights }
}

const MIDPOINT_SLOPE: &[f64] = &[0.5, 0.5];
const THIRD_ORDER_SLOPE: &[f64] = &[5.0 / 12.0, 8.0 / 12.0, -1.0 / 12.0];
const CLASSICAL_SLOPE: &[f64] = &[1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0];

const FIRST: Stage = stage(0.0, &[]);
const ORDER_2: [Stage; 2] = [FIRST, stage(1.0, &[1.0])];
const PAPER_3: [Stage; 3] = [FIRST, stage(1.0, &[1.0]), stage(2.0, &[1.75, 0.25])];
const CORRECTED_3: [Stage; 3] = [FIRST, stage(1.0, &[1.0]), stage(2.0, &[4.0, -2.0])];
const CLASSICAL: [Stage; 4] = [
    FIRST,
    stage(0.5, &[0.5]),
    stage(0.5, &[0.0, 0.5]),
    stage(1.0, &[0.0, 0.0, 1.0]),
];

impl StageRule {
    /// The stages of a step of order 1, 2, 3 (catch-up) or 4 (the classical rule); none for any other order.
    ///
    /// ```
    /// use taper_kernels::StageRule;
    /// let last = StageRule::Paper.stages(3)[2];
    /// assert_eq!((last.node, last.coefficients), (2.0, &[1.75, 0.25][..]));
    /// ```
    pub fn stages(self, order: usize) -> &'static [Stage] {
        match (order, self) {
            (1, _) => &ORDER_2[..1],
            (2, _) => &ORDER_2,
            (3, Self::Paper) => &PAPER_3,
            (3, Self::Corrected) => &CORRECTED_3,
            (4, _) => &CLASSICAL,
            _ => &[],
        }
    }

    /// The states of a step: s_1 … s_n for orders 1 to 3, the end of the step for order 4.
    pub(super) fn states(self, order: usize) -> &'static [State] {
        const PAPER_2: [State; 2] = [state(1.0, MIDPOINT_SLOPE), state(2.0, MIDPOINT_SLOPE)];
        const PAPER_3: [State; 3] = [
            state(1.0, THIRD_ORDER_SLOPE),
            state(2.0, THIRD_ORDER_SLOPE),
            state(3.0, THIRD_ORDER_SLOPE),
        ];
        const CORRECTED_2: [State; 2] = [state(1.0, MIDPOINT_SLOPE), state(2.0, &[0.0, 1.0])];
        const CORRECTED_3: [State; 3] = [
            state(1.0, THIRD_ORDER_SLOPE),
            state(2.0, &[1.0 / 6.0, 4.0 / 6.0, 1.0 / 6.0]),
            state(3.0, &[0.25, 0.0, 0.75]),
        ];
        const EULER: [State; 1] = [state(1.0, &[1.0])];
        const CLASSICAL: [State; 1] = [state(1.0, CLASSICAL_SLOPE)];
        match (order, self) {
            (1, _) => &EULER,
            (2, Self::Paper) => &PAPER_2,
            (2, Self::Corrected) => &CORRECTED_2,
            (3, Self::Paper) => &PAPER_3,
            (3, Self::Corrected) => &CORRECTED_3,
            (4, _) => &CLASSICAL,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StageRule;

    #[test]
    fn every_rule_is_consistent() {
        for rule in [StageRule::Paper, StageRule::Corrected] {
            for order in 1..=4 {
                let stages = rule.stages(order);
                assert_eq!(stages.len(), order);
                for (index, stage) in stages.iter().enumerate() {
                    assert_eq!(stage.coefficients.len(), index);
                    assert!((stage.coefficients.iter().sum::<f64>() - stage.node).abs() < 1e-15);
                }
                for (index, state) in rule.states(order).iter().enumerate() {
                    assert_eq!(state.steps, (index + 1) as f64);
                    assert!((state.weights.iter().sum::<f64>() - 1.0).abs() < 1e-15);
                }
            }
            assert!(rule.stages(0).is_empty() && rule.states(5).is_empty());
        }
    }
}
