//! One pass over the logits gives the loss and its gradient.

use crate::element::Element;
use crate::log_softmax::cpu::{each_row, log_sum_exp};

/// The mean loss and, if wanted, its gradient (softmax − q) / batch.
pub(super) fn forward<T: Element>(
    logits: &[T],
    targets: &[u32],
    classes: usize,
    smoothing: f64,
    wanted: bool,
) -> (f64, Option<Vec<T>>) {
    let batch = targets.len() as f64;
    let everywhere = smoothing / classes as f64;
    let mut loss = 0.0;
    for (row, &target) in logits.chunks_exact(classes.max(1)).zip(targets) {
        let (log_sum, largest) = log_sum_exp(row);
        let surprise = |logit: T| log_sum - (logit - largest).to_f64();
        loss += (1.0 - smoothing) * surprise(row[target as usize]);
        if smoothing > 0.0 {
            loss += everywhere * row.iter().map(|&logit| surprise(logit)).sum::<f64>();
        }
    }
    let gradient = wanted.then(|| {
        each_row(logits.len(), classes, |range, gradient| {
            let target = targets[range.start / classes] as usize;
            let row = &logits[range];
            let (log_sum, largest) = log_sum_exp(row);
            for (class, (gradient, &logit)) in gradient.iter_mut().zip(row).enumerate() {
                let probability = ((logit - largest).to_f64() - log_sum).exp();
                let wanted = everywhere
                    + if class == target {
                        1.0 - smoothing
                    } else {
                        0.0
                    };
                gradient.write(T::from_f64((probability - wanted) / batch));
            }
        })
    });
    (loss / batch, gradient)
}
