//! Unbiased Teacher v2 (Liu et al. 2022, arXiv:2206.09500): a teacher labels what nobody labelled, a student learns from
//! it, and the teacher follows the student slowly. And the guard rails that keep this from running away.

pub mod guard;
pub mod job;
pub mod labelled_loss;
pub mod mutual_loss;
pub mod phase;
pub mod pseudo_label;
pub mod running_means;
pub mod training_loop;
