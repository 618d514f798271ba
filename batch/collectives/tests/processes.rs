//! Processes on one machine: this test program starts itself again, once per rank.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use d2r_collectives::{Error, Group, Place};
use tch::{Kind, Tensor};

/// Says which part a started process plays.
const PART: &str = "D2R_TEST_PART";
const WAIT: Duration = Duration::from_secs(60);

/// Starts `size` processes that run the test `name`, and returns whether each one succeeded, with what it wrote.
fn start(name: &str, size: usize) -> Vec<Child> {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let process = |rank: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env(PART, "member");
        command.env("RANK", rank.to_string()).env("WORLD_SIZE", size.to_string());
        command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", free.to_string());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    (0..size).map(process).collect()
}

fn succeed(processes: Vec<Child>) {
    for (rank, process) in processes.into_iter().enumerate() {
        let output = process.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "rank {rank}: {text}");
    }
}

/// The group of a started process; `None` in the process that starts them.
fn member() -> Option<Group> {
    std::env::var_os(PART)?;
    let place = Place::detect(|name| std::env::var(name).ok()).unwrap().unwrap();
    Some(Group::meet(&place, WAIT).unwrap())
}

#[test]
fn three_processes_exchange_tensors() {
    let Some(group) = member() else { return succeed(start("three_processes_exchange_tensors", 3)) };
    let rank = group.rank() as i64;
    let own = Tensor::from_slice(&[rank, 10 * rank]);
    let gathered = group.all_gather(&own, WAIT).unwrap();
    let values: Vec<Vec<i64>> = gathered.iter().map(|t| Vec::try_from(t).unwrap()).collect();
    assert_eq!(values, [[0, 0], [1, 10], [2, 20]]);
    let mut shared = Tensor::full([2, 2], rank, (Kind::Float, tch::Device::Cpu));
    group.broadcast(&mut shared, 1, WAIT).unwrap();
    assert_eq!(shared, Tensor::ones([2, 2], (Kind::Float, tch::Device::Cpu)));
    // Around the ring: each one sends its number to the next one.
    let (next, before) = ((group.rank() + 1) % 3, (group.rank() + 2) % 3);
    let mut received = Tensor::from_slice(&[-1i64]);
    let number = Tensor::from_slice(&[rank]);
    if group.rank() == 0 {
        group.send(&number, next, WAIT).unwrap();
        group.receive(&mut received, before, WAIT).unwrap();
    } else {
        group.receive(&mut received, before, WAIT).unwrap();
        group.send(&number, next, WAIT).unwrap();
    }
    assert_eq!(i64::try_from(received).unwrap(), before as i64);
    group.barrier(WAIT).unwrap();
}

#[test]
fn a_lost_process_is_an_error_at_once() {
    let Some(group) = member() else { return succeed(start("a_lost_process_is_an_error_at_once", 2)) };
    group.barrier(WAIT).unwrap();
    if group.rank() == 1 {
        return;
    }
    let start = Instant::now();
    let failed = (0..100).find_map(|_| group.all_gather(&Tensor::from_slice(&[1i64]), WAIT).err());
    assert!(matches!(failed, Some(Error::Lost { .. })), "{failed:?}");
    assert!(start.elapsed() < WAIT, "not the time limit ended it");
}

#[test]
fn a_process_that_does_not_answer_is_an_error_after_the_time_limit() {
    let Some(group) = member() else {
        return succeed(start("a_process_that_does_not_answer_is_an_error_after_the_time_limit", 2));
    };
    if group.rank() == 0 {
        let error = group.all_gather(&Tensor::from_slice(&[1i64]), Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    } else {
        // Busy elsewhere for longer than the other one waits, which has ended then.
        std::thread::sleep(Duration::from_secs(3));
        let _lost = group.all_gather(&Tensor::from_slice(&[1i64]), WAIT);
    }
}

#[test]
fn without_the_others_the_meeting_fails() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let place = Place {
        rank: 1,
        size: 2,
        local_rank: 1,
        local_size: 2,
        address: "127.0.0.1".into(),
        port: free,
        store_is_served: false,
        attempt: "0".into(),
    };
    let error = Group::meet(&place, Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, Error::Meeting { rank: 1, size: 2, .. }), "{error}");
}
