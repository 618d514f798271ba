//! SGD with momentum and Adam (AMSGrad), with a state that can be saved: `tch`'s own optimizers cannot be resumed.
//! The arithmetic is that of `torch.optim` (coupled weight decay, bias correction, epsilon outside the root).

use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::nn::pass;
use crate::nn::pass::Passes;
use crate::training::named_tensors::NamedTensors;

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd {
        /// Momentum, without dampening or Nesterov.
        momentum: f64,
    },
    /// Adam.
    Adam {
        /// Decay of the mean of gradients.
        beta1: f64,
        /// Decay of the mean of squared gradients.
        beta2: f64,
        /// Added to the root.
        eps: f64,
        /// Divide by the largest second moment so far (AMSGrad).
        amsgrad: bool,
    },
}

impl Rule {
    /// Adam with AMSGrad and the usual constants.
    pub const ADAM_AMSGRAD: Self = Self::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, amsgrad: true };
}

/// Parameters that share a learning rate and a weight decay.
#[derive(Debug)]
pub struct ParamGroup {
    /// For messages, for instance `visual`.
    pub name: String,
    /// Names and leaves; the tensors share storage with the model's variables.
    pub params: Vec<(String, Tensor)>,
    /// Peak learning rate; [`Optimizer::step`] multiplies it by the schedule's factor.
    pub lr: f64,
    /// Coupled L2.
    pub weight_decay: f64,
}

#[derive(Debug)]
struct Slot {
    name: String,
    param: Tensor,
    lr: f64,
    weight_decay: f64,
    /// Of the last [`Optimizer::backward`]; undefined where the loss does not depend on the parameter.
    grad: Tensor,
    /// Momentum buffer, or Adam's moments; empty before the first step.
    moments: Vec<Tensor>,
}

/// An optimizer whose state is a list of named tensors.
#[derive(Debug)]
pub struct Optimizer {
    rule: Rule,
    slots: Vec<Slot>,
    steps: i64,
}

impl Optimizer {
    /// An optimizer over the groups' parameters.
    ///
    /// # Errors
    /// [`Error::Internal`] when a name occurs twice.
    pub fn new(rule: Rule, groups: Vec<ParamGroup>) -> Result<Self> {
        let mut slots: Vec<Slot> = Vec::new();
        for group in groups {
            for (name, param) in group.params {
                if slots.iter().any(|s| s.name == name) {
                    return Err(Error::Internal(format!("parameter `{name}` is in two groups")));
                }
                let (lr, weight_decay) = (group.lr, group.weight_decay);
                slots.push(Slot { name, param, lr, weight_decay, grad: Tensor::new(), moments: Vec::new() });
            }
        }
        Ok(Self { rule, slots, steps: 0 })
    }

    /// Steps done.
    pub fn steps(&self) -> i64 {
        self.steps
    }

    /// Gradients of a scalar loss with respect to the parameters. They are kept here, not in the parameters: none is
    /// zeroed, none is added to another. A parameter that the loss does not depend on stays as it is in the next step.
    ///
    /// # Errors
    /// [`Error::Torch`] when the loss has no gradient.
    pub fn backward(&mut self, loss: &Tensor) -> Result<()> {
        self.backward_through(loss, Vec::new())
    }

    /// The same through passes that compute their gradients themselves.
    ///
    /// # Errors
    /// [`Error::Torch`] when the loss has no gradient.
    pub fn backward_through(&mut self, loss: &Tensor, passes: Passes) -> Result<()> {
        let gradients = self.gradients(loss, passes)?;
        self.set_gradients(gradients)
    }

    /// The same gradients, not kept, in the order of the parameters; undefined where the loss does not depend on one.
    /// `passes`: those that the loss depends on and that compute their gradients themselves.
    ///
    /// # Errors
    /// [`Error::Torch`] when the loss has no gradient.
    pub fn gradients(&self, loss: &Tensor, passes: Passes) -> Result<Vec<Tensor>> {
        let params: Vec<&Tensor> = self.slots.iter().map(|s| &s.param).collect();
        pass::gradients(loss, &params, passes)
    }

    /// Sets the gradients of the next step, as [`Self::gradients`] returns them.
    ///
    /// # Errors
    /// [`Error::Internal`] for another number of gradients.
    pub fn set_gradients(&mut self, gradients: Vec<Tensor>) -> Result<()> {
        if gradients.len() != self.slots.len() {
            return Err(Error::Internal(format!("{} gradients of {} parameters", gradients.len(), self.slots.len())));
        }
        for (slot, gradient) in self.slots.iter_mut().zip(gradients) {
            slot.grad = gradient;
        }
        Ok(())
    }

    /// The shapes of the parameters.
    pub fn shapes(&self) -> Vec<Vec<i64>> {
        self.slots.iter().map(|s| s.param.size()).collect()
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.slots.first().map_or(Device::Cpu, |s| s.param.device())
    }

    /// Clips every gradient entry to plus or minus `limit`.
    pub fn clip_value(&mut self, limit: f64) {
        self.change_gradients(|grad| grad.clamp(-limit, limit));
    }

    /// Scales all gradients so that their joint L2 norm is at most `limit`; no device synchronisation.
    pub fn clip_norm(&mut self, limit: f64) {
        let Some(norms) = self.norms() else { return };
        let scale = (limit / (norms.norm() + 1e-6)).clamp_max(1.0);
        self.change_gradients(|grad| grad * &scale);
    }

    /// Drops all gradients where one is not finite, so that the update changes nothing but momentum. Returns 1 on the
    /// device where that happened, else 0 (f64); no device synchronisation.
    pub fn drop_unless_finite(&mut self) -> Tensor {
        let Some(norms) = self.norms() else { return Tensor::from(0.0f64) };
        let broken = norms.sum(Kind::Float).isfinite().logical_not();
        self.change_gradients(|grad| grad.masked_fill(&broken, 0.0));
        broken.to_kind(Kind::Double)
    }

    /// The gradients' norms; `None` without gradients. Each is summed in the order of its indices: another order of the
    /// memory, as after [`Self::drop_unless_finite`], does not change its bits.
    fn norms(&self) -> Option<Tensor> {
        let gradients = self.slots.iter().map(|s| &s.grad).filter(|g| g.defined());
        let norms: Vec<Tensor> = gradients.map(|g| g.contiguous().norm()).collect();
        (!norms.is_empty()).then(|| Tensor::stack(&norms, 0))
    }

    /// Gradients may share memory with each other, so they are replaced, never written to.
    fn change_gradients(&mut self, change: impl Fn(&Tensor) -> Tensor) {
        let _no_grad = tch::no_grad_guard();
        for slot in self.slots.iter_mut().filter(|s| s.grad.defined()) {
            slot.grad = change(&slot.grad);
        }
    }

    /// Resets the momentum, as after a return to earlier weights.
    pub fn reset(&mut self) {
        self.steps = 0;
        for slot in &mut self.slots {
            slot.moments.clear();
        }
    }

    /// One update with every learning rate multiplied by `lr_factor`. Parameters without a gradient stay.
    pub fn step(&mut self, lr_factor: f64) {
        let _no_grad = tch::no_grad_guard();
        self.steps += 1;
        for slot in self.slots.iter_mut().filter(|s| s.grad.defined()) {
            let grad = std::mem::replace(&mut slot.grad, Tensor::new());
            match self.rule {
                Rule::Sgd { momentum } => slot.sgd(&grad, momentum, slot.lr * lr_factor),
                Rule::Adam { beta1, beta2, eps, amsgrad } => {
                    let grad = slot.decayed(grad);
                    slot.adam(&grad, (beta1, beta2), eps, amsgrad, self.steps, slot.lr * lr_factor);
                }
            }
        }
    }

    /// The state as named tensors, in a fixed order: `<parameter>.moment<i>` and `steps`.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = vec![("steps".to_owned(), Tensor::from_slice(&[self.steps]))];
        for slot in &self.slots {
            for (i, moment) in slot.moments.iter().enumerate() {
                state.push((format!("{}.moment{i}", slot.name), moment.shallow_clone()));
            }
        }
        state
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// [`Error::BadData`] when a tensor belongs to no parameter, has another shape, or `steps` is missing.
    pub fn load_state(&mut self, state: Vec<(String, Tensor)>) -> Result<()> {
        let bad = |name: &str, why: &str| Error::bad_data(format!("optimizer state, tensor `{name}`"), why);
        let mut steps = None;
        let mut loaded: Vec<Vec<(usize, Tensor)>> = self.slots.iter().map(|_| Vec::new()).collect();
        for (name, tensor) in state {
            if name == "steps" {
                steps = Some(i64::try_from(&tensor.reshape([-1]).get(0))?);
                continue;
            }
            let (param, index) = name
                .rsplit_once(".moment")
                .and_then(|(p, i)| Some((p, i.parse::<usize>().ok()?)))
                .ok_or_else(|| bad(&name, "not a moment of a parameter"))?;
            let at = self.slots.iter().position(|s| s.name == param).ok_or_else(|| bad(&name, "no such parameter"))?;
            if tensor.size() != self.slots[at].param.size() {
                return Err(bad(&name, "its shape is not the parameter's"));
            }
            loaded[at].push((index, tensor));
        }
        self.steps = steps.ok_or_else(|| bad("steps", "missing"))?;
        for (slot, mut moments) in self.slots.iter_mut().zip(loaded) {
            moments.sort_by_key(|(i, _)| *i);
            slot.moments = moments.into_iter().map(|(_, t)| t.to_device(slot.param.device())).collect();
        }
        Ok(())
    }
}

impl Slot {
    /// The gradient with coupled weight decay.
    fn decayed(&self, grad: Tensor) -> Tensor {
        if self.weight_decay > 0.0 { grad.addcmul(&self.param, &self.scalar(self.weight_decay)) } else { grad }
    }

    /// A number beside the parameter, so that one pass can multiply by it and add.
    fn scalar(&self, value: f64) -> Tensor {
        Tensor::full([0i64; 0], value, (self.param.kind(), self.param.device()))
    }

    fn sgd(&mut self, grad: &Tensor, momentum: f64, lr: f64) {
        let step = self.scalar(-lr);
        if momentum == 0.0 {
            let grad = self.decayed(grad.shallow_clone());
            let _ = self.param.addcmul_(&grad, &step);
            return;
        }
        let decay = self.scalar(self.weight_decay);
        if let Some(buffer) = self.moments.first_mut() {
            let _ = buffer.g_mul_scalar_(momentum).g_add_(grad);
            if self.weight_decay > 0.0 {
                let _ = buffer.addcmul_(&self.param, &decay);
            }
        } else {
            let first = self.decayed(grad.copy());
            self.moments.push(first);
        }
        let _ = self.param.addcmul_(&self.moments[0], &step);
    }

    fn adam(&mut self, grad: &Tensor, (beta1, beta2): (f64, f64), eps: f64, amsgrad: bool, step: i64, lr: f64) {
        if self.moments.is_empty() {
            let count = if amsgrad { 3 } else { 2 };
            self.moments = (0..count).map(|_| self.param.zeros_like()).collect();
        }
        let (c1, c2) = (1.0 - beta1.powi(step as i32), 1.0 - beta2.powi(step as i32));
        let _ = self.moments[0].g_mul_scalar_(beta1).g_add_(&(grad * (1.0 - beta1)));
        let _ = self.moments[1].g_mul_scalar_(beta2).g_add_(&(grad.square() * (1.0 - beta2)));
        let second = if amsgrad {
            self.moments[2] = self.moments[2].maximum(&self.moments[1]);
            &self.moments[2]
        } else {
            &self.moments[1]
        };
        let denominator = second.sqrt() / c2.sqrt() + eps;
        let _ = self.param.g_sub_(&(&self.moments[0] / denominator * (lr / c1)));
    }
}

/// Splits variables into those that decay (weights) and those that do not (norms and biases: one dimension).
pub fn decay_split(params: NamedTensors) -> (NamedTensors, NamedTensors) {
    params.into_iter().partition(|(_, t)| t.dim() > 1)
}

/// The same as in detectron2: norms do not decay, biases do.
pub fn decay_split_of_norms(params: NamedTensors) -> (NamedTensors, NamedTensors) {
    // Of a norm the weight has one dimension too.
    let is_norm =
        |(name, t): &(String, Tensor)| name.strip_suffix(".weight").filter(|_| t.dim() == 1).map(str::to_owned);
    let norms: BTreeSet<String> = params.iter().filter_map(is_norm).collect();
    params.into_iter().partition(|(name, _)| !name.rsplit_once('.').is_some_and(|(layer, _)| norms.contains(layer)))
}

/// A keep-rate average: `average <- keep * average + (1 - keep) * current`; integer tensors are copied.
pub fn ema_update(average: &mut [(String, Tensor)], current: &[(String, Tensor)], keep: f64) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    if average.len() != current.len() {
        return Err(Error::Internal(format!("moving average: {} tensors against {}", average.len(), current.len())));
    }
    for ((name, mean), (other, now)) in average.iter_mut().zip(current) {
        if name != other {
            return Err(Error::Internal(format!("moving average: `{name}` against `{other}`")));
        }
        if matches!(now.kind(), Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
            let _ = mean.g_mul_scalar_(keep).g_add_(&(now * (1.0 - keep)));
        } else {
            mean.copy_(now);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
