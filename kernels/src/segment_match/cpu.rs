//! One pass: each piece of the teacher against the same piece of every slice.

use super::Segments;
use crate::element::Element;
use crate::output::{Output, chunk_range, collect, fill};
use crate::vector::{self, LANES, Pass, total};
use std::mem::MaybeUninit;

/// Elements of a teacher's image that stay in the nearest cache while all slices pass: 16 KiB of `f32`. Images up to
/// that size are whole, and then the slices are read from first to last without a gap.
const PIECE: usize = 4096;
/// Squares of a lane that are added up in the tensor's own type before `f64` takes their sum.
const RUN: usize = 16;

/// The loss and the gradients that were asked for.
pub(super) struct Found<T> {
    pub(super) loss: f64,
    pub(super) of_expanded: Option<Vec<T>>,
    pub(super) of_teacher: Option<Vec<T>>,
}

/// The loss and the gradients that are wanted; each task takes one piece of one image.
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
                Some(de) => vector::run(CompareAndWrite {
                    student,
                    teacher,
                    scale,
                    written: de,
                }),
                None => vector::run(Compare { student, teacher }),
            };
        }
        if let Some(dt) = &dt {
            // SAFETY: tasks have pieces of their own.
            let dt = unsafe { dt.range(at(index * image)) };
            let slices: Vec<&[T]> = (0..slices)
                .map(|slice| &expanded[at((index * slices + slice) * image)])
                .collect();
            vector::run(TeacherGradient {
                slices: &slices,
                teacher,
                scale,
                written: dt,
            });
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
struct Compare<'a, T> {
    student: &'a [T],
    teacher: &'a [T],
}

impl<T: Element> Pass for Compare<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let runs = self
            .student
            .chunks(RUN * LANES)
            .zip(self.teacher.chunks(RUN * LANES));
        let mut loss = 0.0;
        for (student, teacher) in runs {
            let mut sums = [T::from_f64(0.0); LANES];
            let ((students, student_rest), (teachers, teacher_rest)) =
                (student.as_chunks::<LANES>(), teacher.as_chunks::<LANES>());
            for (student, teacher) in students.iter().zip(teachers) {
                for lane in 0..LANES {
                    let distance = student[lane] - teacher[lane];
                    sums[lane] += distance * distance;
                }
            }
            for ((sum, &student), &teacher) in sums.iter_mut().zip(student_rest).zip(teacher_rest) {
                *sum += (student - teacher) * (student - teacher);
            }
            loss += total(sums).to_f64();
        }
        loss
    }
}

/// [`Compare`], and `scale · (student − teacher)` written.
struct CompareAndWrite<'a, T> {
    student: &'a [T],
    teacher: &'a [T],
    scale: T,
    written: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for CompareAndWrite<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let scale = self.scale;
        let runs = self
            .student
            .chunks(RUN * LANES)
            .zip(self.teacher.chunks(RUN * LANES));
        let mut loss = 0.0;
        for ((student, teacher), written) in runs.zip(self.written.chunks_mut(RUN * LANES)) {
            let mut sums = [T::from_f64(0.0); LANES];
            let ((students, student_rest), (teachers, teacher_rest)) =
                (student.as_chunks::<LANES>(), teacher.as_chunks::<LANES>());
            let (blocks, written_rest) = written.as_chunks_mut::<LANES>();
            for ((student, teacher), written) in students.iter().zip(teachers).zip(blocks) {
                for lane in 0..LANES {
                    let distance = student[lane] - teacher[lane];
                    written[lane].write(distance * scale);
                    sums[lane] += distance * distance;
                }
            }
            let rest = sums.iter_mut().zip(student_rest).zip(teacher_rest);
            for (((sum, &student), &teacher), written) in rest.zip(written_rest) {
                let distance = student - teacher;
                written.write(distance * scale);
                *sum += distance * distance;
            }
            loss += total(sums).to_f64();
        }
        loss
    }
}

/// `−scale · Σ_i (E_i − teacher)`.
struct TeacherGradient<'a, T> {
    slices: &'a [&'a [T]],
    teacher: &'a [T],
    scale: T,
    written: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for TeacherGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            slices,
            teacher,
            scale,
            written,
        } = self;
        let written = fill(written, T::from_f64(0.0));
        for slice in slices {
            for ((written, &student), &teacher) in written.iter_mut().zip(*slice).zip(teacher) {
                *written += (teacher - student) * scale;
            }
        }
    }
}
