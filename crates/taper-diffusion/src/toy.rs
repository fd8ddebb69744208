//! Data in the plane, of which every measure is exact or nearly so.

use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};
use taper_kernels::random::{Random, stream};

/// A distribution of points in the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Toy {
    /// Eight unit cells, those with (i + j) even, of the 4 × 4 grid on [−2, 2]².
    Checkerboard,
    /// Two half circles of radius 1 that reach into each other, with noise of 0.05, about the origin.
    Moons,
    /// Eight normal distributions of deviation 0.15 on a circle of radius 1.5.
    Gaussians,
}

/// Modes of [`Toy::Gaussians`] and cells of [`Toy::Checkerboard`].
const MODES: usize = 8;
const MOON_NOISE: f64 = 0.05;
const GAUSSIANS_RADIUS: f64 = 1.5;
const GAUSSIANS_DEVIATION: f64 = 0.15;

impl Toy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Checkerboard, Self::Moons, Self::Gaussians];

    /// As written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkerboard => "checkerboard",
            Self::Moons => "moons",
            Self::Gaussians => "gaussians",
        }
    }

    /// Half the side of a square about the origin that holds the data, for pictures.
    pub fn extent(self) -> f64 {
        match self {
            Self::Checkerboard | Self::Gaussians => 2.0,
            Self::Moons => 1.8,
        }
    }

    /// `count` independent points, x and y in turn.
    pub fn draw(self, count: usize, random: &mut Random) -> Vec<f32> {
        self.points((0..count).map(|_| None), random)
    }

    /// `count` points, the modes (cells, moons) in turn: a reference with as many points in each.
    ///
    /// The same seed gives the same points.
    pub fn reference(self, count: usize, seed: u64) -> Vec<f32> {
        let mut random = stream(seed, "toy-reference", 0);
        self.points((0..count).map(Some), &mut random)
    }

    /// Points of the modes asked for, or of modes drawn by lot.
    fn points(self, modes: impl Iterator<Item = Option<usize>>, random: &mut Random) -> Vec<f32> {
        modes
            .flat_map(|mode| {
                let mode = mode.unwrap_or_else(|| random.random_range(0..MODES));
                self.point(mode % MODES, random).map(|v| v as f32)
            })
            .collect()
    }

    fn point(self, mode: usize, random: &mut Random) -> [f64; 2] {
        match self {
            Self::Checkerboard => {
                let row = mode / 2;
                let column = 2 * (mode % 2) + row % 2;
                let [u, v] = [random.random::<f64>(), random.random::<f64>()];
                [column as f64 - 2.0 + u, row as f64 - 2.0 + v]
            }
            Self::Moons => {
                let angle = std::f64::consts::PI * random.random::<f64>();
                let [a, b] = normal_pair(random).map(|n| MOON_NOISE * n);
                let [x, y] = match mode % 2 {
                    0 => [angle.cos(), angle.sin()],
                    _ => [1.0 - angle.cos(), 0.5 - angle.sin()],
                };
                [x - 0.5 + a, y - 0.25 + b]
            }
            Self::Gaussians => {
                let angle = std::f64::consts::TAU * mode as f64 / MODES as f64;
                let [a, b] = normal_pair(random).map(|n| GAUSSIANS_DEVIATION * n);
                [
                    GAUSSIANS_RADIUS * angle.cos() + a,
                    GAUSSIANS_RADIUS * angle.sin() + b,
                ]
            }
        }
    }
}

fn normal_pair(random: &mut Random) -> [f64; 2] {
    [StandardNormal.sample(random), StandardNormal.sample(random)]
}

impl std::str::FromStr for Toy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|toy| toy.name() == text);
        found.ok_or_else(|| format!("{text}: expected checkerboard, moons or gaussians"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkerboard_fills_its_eight_cells() {
        let mut random = stream(0, "test", 0);
        let points = Toy::Checkerboard.draw(40_000, &mut random);
        let mut cells = [[0usize; 4]; 4];
        let mut squares = 0.0;
        for point in points.chunks(2) {
            let cell = |v: f32| ((v + 2.0).floor() as usize).min(3);
            cells[cell(point[1])][cell(point[0])] += 1;
            squares += f64::from(point[0]).powi(2) + f64::from(point[1]).powi(2);
        }
        for (row, counts) in cells.iter().enumerate() {
            for (column, &count) in counts.iter().enumerate() {
                match (row + column) % 2 {
                    // Mean 5,000, deviation 66.
                    0 => assert!((4_650..5_350).contains(&count), "{row} {column}: {count}"),
                    _ => assert_eq!(count, 0),
                }
            }
        }
        // The second moment of each coordinate is that of the uniform law on [-2, 2].
        assert!((squares / 80_000.0 - 4.0 / 3.0).abs() < 0.03);
    }

    #[test]
    fn a_reference_has_as_many_points_in_each_cell() {
        let points = Toy::Checkerboard.reference(2_000, 1);
        let mut cells = [0usize; 16];
        for point in points.chunks(2) {
            let cell = |v: f32| ((v + 2.0).floor() as usize).min(3);
            cells[4 * cell(point[1]) + cell(point[0])] += 1;
        }
        assert_eq!(cells.iter().filter(|&&count| count == 250).count(), 8);
        assert_eq!(points, Toy::Checkerboard.reference(2_000, 1));
        assert_ne!(points, Toy::Checkerboard.reference(2_000, 2));
    }

    #[test]
    fn every_toy_lies_in_its_square_about_the_origin() {
        for toy in Toy::ALL {
            assert_eq!(toy.name().parse::<Toy>(), Ok(toy));
            let points = toy.draw(4_000, &mut stream(0, "test", 1));
            let mean: f64 = points.iter().map(|&v| f64::from(v)).sum::<f64>() / 8_000.0;
            assert!(mean.abs() < 0.05, "{toy:?}: {mean}");
            let inside = points.iter().filter(|v| f64::from(v.abs()) < toy.extent());
            assert!(inside.count() > 7_900, "{toy:?}");
        }
    }
}
