//! Training of the report model.

pub mod epoch_order;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod optimizer;
pub mod token_weights;
pub mod trainer;
pub mod validation;

#[cfg(test)]
mod tests;
