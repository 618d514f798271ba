//! Parts of a forward pass with a backward pass of their own. The graph does not contain such a part: its outputs are leaves, and
//! when the gradients of the leaves are known, the part adds the gradients of what is behind them.

use std::fmt;

use tch::Tensor;

use crate::error::Result;

/// A part of a forward pass that computes its gradients itself.
pub trait Pass: fmt::Debug {
    /// The leaves that gradients are wanted of.
    fn outputs(&self) -> Vec<&Tensor>;

    /// Adds the gradients of what is behind the outputs to `sum`, in the order of `params`. `of_outputs`: the gradients of
    /// [`Self::outputs`], undefined where the loss does not depend on one.
    ///
    /// # Errors
    /// [`crate::Error::Torch`] when an operation of libtorch fails.
    fn backward(self: Box<Self>, params: &[&Tensor], of_outputs: Vec<Tensor>, sum: &mut [Tensor]) -> Result<()>;
}

/// The passes behind a loss, in their order.
pub type Passes = Vec<Box<dyn Pass>>;

/// A scalar whose gradient with respect to `xs` is `gradient`, both of one shape and kind.
pub(super) fn with_gradient(xs: &Tensor, gradient: &Tensor) -> Tensor {
    (xs * gradient).sum(xs.kind())
}

/// Adds gradients, of which each may be undefined.
pub(super) fn add(sum: &mut [Tensor], found: Vec<Tensor>) {
    let _no_grad = tch::no_grad_guard();
    for (sum, found) in sum.iter_mut().zip(found).filter(|(_, found)| found.defined()) {
        *sum = if sum.defined() { &*sum + found } else { found };
    }
}

/// Adds to `sum`, in the order of `params`, what follows from the gradients of some tensors of the graph; those that need none are
/// left out.
///
/// # Errors
/// [`crate::Error::Torch`] when an operation of libtorch fails.
pub fn continue_backward(of: &[(&Tensor, Tensor)], params: &[&Tensor], sum: &mut [Tensor]) -> Result<()> {
    let wanted = of.iter().filter(|(xs, gradient)| xs.requires_grad() && gradient.defined());
    let roots: Vec<Tensor> = wanted.map(|(xs, gradient)| with_gradient(xs, &gradient.to_kind(xs.kind()))).collect();
    if !roots.is_empty() {
        add(sum, Tensor::f_run_backward(&roots, params, false, false)?);
    }
    Ok(())
}

/// The gradients of a scalar loss with respect to `params`, undefined where it does not depend on one. `passes`: those
/// that it depends on.
///
/// # Errors
/// [`crate::Error::Torch`] when the loss has no gradient.
pub fn gradients(loss: &Tensor, params: &[&Tensor], passes: Passes) -> Result<Vec<Tensor>> {
    let outputs: Vec<&Tensor> = passes.iter().flat_map(|pass| pass.outputs()).collect();
    let inputs = [params, &outputs].concat();
    let mut sum = Tensor::f_run_backward(&[loss], &inputs, false, false)?;
    let mut of_outputs = sum.split_off(params.len());
    // The latest pass first, as autograd does.
    for pass in passes.into_iter().rev() {
        let own = of_outputs.split_off(of_outputs.len() - pass.outputs().len());
        pass.backward(params, own, &mut sum)?;
    }
    Ok(sum)
}
