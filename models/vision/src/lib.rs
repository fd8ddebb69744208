//! Image classifiers: students and teachers, parameter for parameter as their PyTorch originals
