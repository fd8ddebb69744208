//! One pass: each piece of the teacher against the same piece of every slice.

use super::Segments;
use crate::element::Element;
use crate::output::{Output, chunk_range, collect, fill};
use crate::vector;
use std::mem::MaybeUninit;

/// Elements of a teacher's image that stay in the nearest cache while all slices pass.
const PIECE: usize = 2048;
/// Partial sums of the loss: two AVX-512 registers of `f64`.
const LANES: usize = 16;

/// The loss and the gradients that were asked for.
pub(super) struct Found<T> {
    pub(super) loss: f64,
    pub(super) of_expanded: Option<Vec<T>>,
    pub(super) of_teacher: Option<Vec<T>>,
}

/// One piece of one image: its loss times `batch · image`, and its part of the gradients.
pub(super) fn forward<T: Element>(
    expanded: &[T],
    teacher: &[T],
    shape: Segments,
    of_expanded: bool,
    of_teacher: bool,
) -> Found<T> {
    let Segments {
        batch,
        slices,
        image,
    } = shape;
    let pieces = image.div_ceil(PIECE);
    let scale = T::from_f64(2.0 / (batch * image) as f64);
    let de = of_expanded.then(|| Output::new(batch * slices * image));
    let dt = of_teacher.then(|| Output::new(batch * image));
    let partial = collect(batch * pieces, |task| {
        let (index, piece) = (task / pieces, chunk_range(image, PIECE, task % pieces));
        let at = |start: usize| start + piece.start..start + piece.end;
        let teacher = &teacher[at(index * image)];
        let mut loss = 0.0;
        for slice in 0..slices {
            let range = at((index * slices + slice) * image);
            let student = &expanded[range.clone()];
            // SAFETY: tasks have pieces of their own.
            let de = de.as_ref().map(|de| unsafe { de.range(range) });
            loss += match de {
                Some(de) => vector::run(compare_and_write::<T>, (student, teacher, scale, de)),
                None => vector::run(compare::<T>, (student, teacher)),
            };
        }
        if let Some(dt) = &dt {
            // SAFETY: tasks have pieces of their own.
            let dt = unsafe { dt.range(at(index * image)) };
            let slices: Vec<&[T]> = (0..slices)
                .map(|slice| &expanded[at((index * slices + slice) * image)])
                .collect();
            vector::run(
                write_teacher_gradient::<T>,
                (&slices[..], teacher, scale, dt),
            );
        }
        loss
    });
    // SAFETY: the pieces cover both tensors, and each is written as a whole.
    let (of_expanded, of_teacher) = unsafe { (de.map(|de| de.finish()), dt.map(|dt| dt.finish())) };
    Found {
        loss: partial.iter().sum::<f64>() / (batch * image) as f64,
        of_expanded,
        of_teacher,
    }
}

/// Σ (student − teacher)².
#[inline(always)]
fn compare<T: Element>((student, teacher): (&[T], &[T])) -> f64 {
    let ((students, student_rest), (teachers, teacher_rest)) =
        (student.as_chunks::<LANES>(), teacher.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (student, teacher) in students.iter().zip(teachers) {
        for lane in 0..LANES {
            let distance = (student[lane] - teacher[lane]).to_f64();
            sums[lane] += distance * distance;
        }
    }
    for ((sum, &student), &teacher) in sums.iter_mut().zip(student_rest).zip(teacher_rest) {
        let distance = (student - teacher).to_f64();
        *sum += distance * distance;
    }
    sums.iter().sum()
}

/// [`compare`], and `scale · (student − teacher)` written.
#[inline(always)]
fn compare_and_write<T: Element>(
    (student, teacher, scale, written): (&[T], &[T], T, &mut [MaybeUninit<T>]),
) -> f64 {
    let ((students, student_rest), (teachers, teacher_rest)) =
        (student.as_chunks::<LANES>(), teacher.as_chunks::<LANES>());
    let (blocks, written_rest) = written.as_chunks_mut::<LANES>();
    let mut sums = [0.0; LANES];
    for ((student, teacher), written) in students.iter().zip(teachers).zip(blocks) {
        for lane in 0..LANES {
            let distance = student[lane] - teacher[lane];
            written[lane].write(distance * scale);
            sums[lane] += distance.to_f64() * distance.to_f64();
        }
    }
    for (((sum, &student), &teacher), written) in sums
        .iter_mut()
        .zip(student_rest)
        .zip(teacher_rest)
        .zip(written_rest)
    {
        let distance = student - teacher;
        written.write(distance * scale);
        *sum += distance.to_f64() * distance.to_f64();
    }
    sums.iter().sum()
}

type TeacherGradient<'a, T> = (&'a [&'a [T]], &'a [T], T, &'a mut [MaybeUninit<T>]);

/// `−scale · Σ_i (E_i − teacher)`.
#[inline(always)]
fn write_teacher_gradient<T: Element>((slices, teacher, scale, written): TeacherGradient<'_, T>) {
    let written = fill(written, T::from_f64(0.0));
    for slice in slices {
        for ((written, &student), &teacher) in written.iter_mut().zip(*slice).zip(teacher) {
            *written += (teacher - student) * scale;
        }
    }
}
