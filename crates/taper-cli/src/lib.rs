//! The taper program
