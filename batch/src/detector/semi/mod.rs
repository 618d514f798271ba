//! Unbiased Teacher v2 (Liu et al. 2022, arXiv:2206.09500): a student is trained on annotated boxes and on a teacher's
//! pseudo-labels; the teacher is the exponential moving average of the student. With guards against divergence.

pub mod guard;
pub mod job;
pub mod labelled_loss;
pub mod mutual_loss;
pub mod phase;
pub mod pseudo_label;
pub mod running_means;
pub mod trainer;
