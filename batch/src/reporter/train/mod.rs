//! Training of the report model.

pub mod optimizer;
pub mod running_means;
pub mod token_weights;
pub mod training_loop;
pub mod validation;

#[cfg(test)]
mod tests;
