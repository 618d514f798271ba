//! Training of the report model.

pub mod optimizer;
pub mod token_weights;
pub mod trainer;
pub mod validation;

#[cfg(test)]
mod tests;
