//! SGD with momentum and Adam (AMSGrad), with a state that can be saved: `tch`'s own optimizers cannot be resumed.
//! The arithmetic is that of `torch.optim` (coupled weight decay, bias correction, epsilon outside the root).

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
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
        let params: Vec<&Tensor> = self.slots.iter().map(|s| &s.param).collect();
        let grads = Tensor::f_run_backward(&[loss], &params, false, false)?;
        for (slot, grad) in self.slots.iter_mut().zip(grads) {
            slot.grad = grad;
        }
        Ok(())
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

    /// The gradients' norms; `None` without gradients.
    fn norms(&self) -> Option<Tensor> {
        let norms: Vec<Tensor> = self.slots.iter().map(|s| &s.grad).filter(|g| g.defined()).map(Tensor::norm).collect();
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
mod tests {
    use super::*;

    fn leaf(values: &[f64]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    /// Loss sum(c * p^2) with c = 1, 2, 3: the generator of the golden values below is
    /// `torch.optim.SGD([p], lr=.1, momentum=.9, weight_decay=1e-4)` and
    /// `torch.optim.Adam([p], lr=.1, weight_decay=1e-2, amsgrad=True)` in torch 2.11, five steps from (1, -2, 3).
    fn five_steps(rule: Rule, weight_decay: f64) -> Vec<f64> {
        let p = leaf(&[1.0, -2.0, 3.0]);
        let group =
            ParamGroup { name: "all".into(), params: vec![("p".into(), p.shallow_clone())], lr: 0.1, weight_decay };
        let mut optimizer = Optimizer::new(rule, vec![group]).unwrap();
        for _ in 0..5 {
            optimizer.backward(&(p.square() * Tensor::from_slice(&[1.0, 2.0, 3.0])).sum(Kind::Double)).unwrap();
            optimizer.step(1.0);
        }
        Vec::<f64>::try_from(&p).unwrap()
    }

    fn assert_near(ours: &[f64], torch: &[f64]) {
        for (a, b) in ours.iter().zip(torch) {
            assert!((a - b).abs() < 1e-9, "{ours:?} against {torch:?}");
        }
    }

    #[test]
    fn five_steps_equal_torch_sgd() {
        assert_near(&five_steps(Rule::Sgd { momentum: 0.9 }, 1e-4), &GOLDEN_SGD);
    }

    #[test]
    fn five_steps_equal_torch_adam_amsgrad() {
        assert_near(&five_steps(Rule::ADAM_AMSGRAD, 1e-2), &GOLDEN_ADAM);
    }

    const GOLDEN_SGD: [f64; 3] = [-0.5804555352406192, 1.457971648434027, -0.6900860186298259];
    const GOLDEN_ADAM: [f64; 3] = [0.5079636592510938, -1.5029557806444065, 2.5017794556565778];

    #[test]
    fn a_resumed_optimizer_takes_the_same_steps() {
        let run = |interrupt: bool| {
            let p = leaf(&[1.0, -2.0]);
            let make = || {
                let params = vec![("p".to_owned(), p.shallow_clone())];
                Optimizer::new(
                    Rule::ADAM_AMSGRAD,
                    vec![ParamGroup { name: "g".into(), params, lr: 0.05, weight_decay: 0.0 }],
                )
                .unwrap()
            };
            let mut optimizer = make();
            for i in 0..6 {
                if interrupt && i == 3 {
                    let state = optimizer.state().into_iter().map(|(n, t)| (n, t.copy())).collect();
                    optimizer = make();
                    optimizer.load_state(state).unwrap();
                }
                optimizer.backward(&p.square().sum(Kind::Double)).unwrap();
                optimizer.step(1.0);
            }
            Vec::<f64>::try_from(&p).unwrap()
        };
        assert_eq!(run(false), run(true));
    }

    #[test]
    fn a_shared_gradient_is_clipped_once() {
        // Both parameters of a sum get the same gradient, and its memory may be shared.
        let (a, b) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
        let unused = leaf(&[5.0]);
        let params = [("a", &a), ("b", &b), ("unused", &unused)].map(|(n, t)| (n.to_owned(), t.shallow_clone()));
        let group = ParamGroup { name: "g".into(), params: params.into(), lr: 1.0, weight_decay: 0.1 };
        let mut optimizer = Optimizer::new(Rule::Sgd { momentum: 0.0 }, vec![group]).unwrap();
        optimizer.backward(&(&a + &b).sum(Kind::Double)).unwrap();
        optimizer.clip_norm(1.0);
        optimizer.step(1.0);
        // Four entries of 1 have norm 2: each becomes 1/2, and a tenth of the parameter is added.
        let half = 1.0 / (2.0 + 1e-6);
        assert_near(&Vec::<f64>::try_from(&a).unwrap(), &[0.9 - half, 1.8 - half]);
        assert_near(&Vec::<f64>::try_from(&b).unwrap(), &[2.7 - half, 3.6 - half]);
        assert_eq!(Vec::<f64>::try_from(&unused).unwrap(), [5.0], "without a gradient nothing decays");
    }

    #[test]
    fn surplus_or_misshapen_state_is_refused() {
        let params = vec![("p".to_owned(), leaf(&[1.0]))];
        let group = ParamGroup { name: "g".into(), params, lr: 0.1, weight_decay: 0.0 };
        let mut optimizer = Optimizer::new(Rule::Sgd { momentum: 0.9 }, vec![group]).unwrap();
        let steps = || ("steps".to_owned(), Tensor::from_slice(&[1i64]));
        assert!(optimizer.load_state(vec![steps(), ("q.moment0".into(), Tensor::from_slice(&[1.0]))]).is_err());
        assert!(optimizer.load_state(vec![steps(), ("p.moment0".into(), Tensor::from_slice(&[1.0, 2.0]))]).is_err());
        assert!(optimizer.load_state(vec![]).is_err());
        assert!(optimizer.load_state(vec![steps(), ("p.moment0".into(), Tensor::from_slice(&[1.0]))]).is_ok());
    }

    #[test]
    fn moving_average_keeps_nothing_at_zero_and_everything_at_one() {
        let now = vec![("w".to_owned(), Tensor::from_slice(&[2.0f32])), ("n".to_owned(), Tensor::from_slice(&[7i64]))];
        for (keep, expected) in [(0.0, 2.0), (1.0, 1.0), (0.5, 1.5)] {
            let mut mean =
                vec![("w".to_owned(), Tensor::from_slice(&[1.0f32])), ("n".to_owned(), Tensor::from_slice(&[1i64]))];
            ema_update(&mut mean, &now, keep).unwrap();
            assert_eq!(f64::try_from(&mean[0].1).unwrap(), expected);
            assert_eq!(i64::try_from(&mean[1].1).unwrap(), 7);
        }
        assert!(ema_update(&mut [("x".to_owned(), Tensor::from_slice(&[1.0f32]))], &now[..1], 0.5).is_err());
    }
}
