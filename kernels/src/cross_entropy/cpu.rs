//! One pass over the logits gives the loss and its gradient.

use crate::element::Element;
use crate::output::{Output, chunk_range};
use crate::softmax::rows::{exponentials, largest, write};
use crate::threads;
use crate::vector::{self, Pass};
use std::mem::MaybeUninit;

/// Elements a task works on, about.
const CHUNK: usize = 8192;

/// The mean loss and, if wanted, its gradient (softmax − q) / batch.
pub(super) fn forward<T: Element>(
    logits: &[T],
    targets: &[u32],
    classes: usize,
    smoothing: f64,
    wanted: bool,
) -> (f64, Option<Vec<T>>) {
    let batch = targets.len();
    let losses = Output::new(batch);
    let gradient = wanted.then(|| Output::new(logits.len()));
    let a_task = (CHUNK / classes.max(1)).max(1);
    threads::for_each(batch.div_ceil(a_task), |task| {
        let rows = chunk_range(batch, a_task, task);
        let elements = rows.start * classes..rows.end * classes;
        // SAFETY: tasks have rows of their own.
        let (losses, gradient) = unsafe {
            (
                losses.range(rows.clone()),
                gradient
                    .as_ref()
                    .map(|gradient| gradient.range(elements.clone())),
            )
        };
        vector::run(Rows {
            logits: &logits[elements],
            targets: &targets[rows],
            classes,
            smoothing,
            batch: batch as f64,
            losses,
            gradient,
        });
    });
    // SAFETY: the tasks cover the batch; each wrote its losses and, where wanted, gradients.
    let (losses, gradient) =
        unsafe { (losses.finish(), gradient.map(|gradient| gradient.finish())) };
    (losses.iter().sum::<f64>() / batch as f64, gradient)
}

struct Rows<'a, T> {
    logits: &'a [T],
    targets: &'a [u32],
    classes: usize,
    smoothing: f64,
    batch: f64,
    losses: &'a mut [MaybeUninit<f64>],
    gradient: Option<&'a mut [MaybeUninit<T>]>,
}

impl<T: Element> Pass for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            logits,
            targets,
            classes,
            smoothing,
            batch,
            losses,
            mut gradient,
        } = self;
        let everywhere = smoothing / classes as f64;
        let rows = logits.chunks_exact(classes.max(1)).zip(targets);
        for (index, ((row, &target), loss)) in rows.zip(losses).enumerate() {
            let (target, largest) = (target as usize, largest(row));
            let sum = match &mut gradient {
                None => exponentials(row, largest, |_, _| {}),
                Some(gradient) => {
                    let gradient = &mut gradient[index * classes..(index + 1) * classes];
                    let sum = exponentials(row, largest, |part, powers| {
                        write(&mut gradient[part], powers);
                    });
                    // SAFETY: `exponentials` stored every element of the row.
                    let gradient = unsafe { gradient.assume_init_mut() };
                    let factor = T::from_f64(1.0 / (sum.to_f64() * batch));
                    let wanted = T::from_f64(everywhere / batch);
                    for gradient in &mut *gradient {
                        *gradient = *gradient * factor - wanted;
                    }
                    gradient[target] -= T::from_f64((1.0 - smoothing) / batch);
                    sum
                }
            };
            let log_sum = sum.to_f64().ln();
            let mut value = (1.0 - smoothing) * (log_sum - (row[target] - largest).to_f64());
            if smoothing > 0.0 {
                let logits: f64 = row.iter().map(|&logit| (logit - largest).to_f64()).sum();
                value += everywhere * (classes as f64 * log_sum - logits);
            }
            loss.write(value);
        }
    }
}
