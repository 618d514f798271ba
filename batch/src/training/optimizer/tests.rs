//! Against PyTorch's own optimizers, gradients that share memory, saved states, moving averages.

use super::*;

fn leaf(values: &[f64]) -> Tensor {
    Tensor::from_slice(values).set_requires_grad(true)
}

/// Loss sum(c * p^2) with c = 1, 2, 3: the generator of the golden values below is
/// `torch.optim.SGD([p], lr=.1, momentum=.9, weight_decay=1e-4)` and
/// `torch.optim.Adam([p], lr=.1, weight_decay=1e-2, amsgrad=True)` in torch 2.11, five steps from (1, -2, 3).
fn five_steps(rule: Rule, weight_decay: f64) -> Vec<f64> {
    let p = leaf(&[1.0, -2.0, 3.0]);
    let group = ParamGroup { name: "all".into(), params: vec![("p".into(), p.shallow_clone())], lr: 0.1, weight_decay };
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
fn a_check_for_finite_gradients_does_not_change_the_bits_of_a_clipped_one() {
    let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
    for (seed, size) in [[67, 301], [500, 7], [1000, 33], [16, 4096]].into_iter().enumerate() {
        tch::manual_seed(seed as i64);
        let [rows, columns] = size;
        // The gradient of a permuted parameter is not contiguous; that of an expanded one repeats its memory.
        let (permuted, expanded) = (random(&[columns, 3, rows]), random(&[1, columns]));
        let clipped = |check: bool| {
            let sizes = [&[rows, columns, 3][..], &[rows, columns]];
            let params = sizes.map(|size| random(size).set_requires_grad(true));
            let loss =
                (params[0].permute([1, 2, 0]) * &permuted).sum(Kind::Float) + (&params[1] * &expanded).sum(Kind::Float);
            let params = params.into_iter().enumerate().map(|(i, p)| (i.to_string(), p)).collect();
            let group = ParamGroup { name: "g".into(), params, lr: 1.0, weight_decay: 0.0 };
            let mut optimizer = Optimizer::new(Rule::Sgd { momentum: 0.0 }, vec![group]).unwrap();
            optimizer.backward(&loss).unwrap();
            assert!(!optimizer.slots[0].grad.is_contiguous());
            if check {
                assert_eq!(f64::try_from(optimizer.drop_unless_finite()).unwrap(), 0.0);
            }
            optimizer.clip_norm(0.01);
            optimizer.slots.into_iter().map(|slot| slot.grad).collect::<Vec<_>>()
        };
        for (a, b) in clipped(false).iter().zip(clipped(true)) {
            assert!(a.equal(&b), "{size:?}: {}", (a - &b).abs().max());
        }
    }
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
