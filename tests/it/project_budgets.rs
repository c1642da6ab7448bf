//! What a project may use of its models in a day, and what tools' calls cost.

use mcp_layer::{
    McpLayer, Price, ToolPrice,
    guard::{GuardRule, Guards},
    registry::{Budget, DefaultServers, MemoryTraces, TraceFilter, TracePage, TraceStore},
};
use serde_json::{Value, json};
use tokio::task::yield_now;

use super::support::{
    events::{chunk, finish, streams, usage},
    gateway::{Gateway, Reply, auto, with_mcp},
    guards::{Does, Sentry},
    model::{Answer, called, calls, json_answer, raw_answer, said, says},
    until,
};

pub fn web() -> Budget {
    Budget::new("web")
}

pub async fn budgeted(answers: impl IntoIterator<Item = Answer>, budget: Budget) -> Gateway {
    let gateway = Gateway::new(answers).await;
    gateway.layered(|layer| layer.with_budgets([budget]).unwrap())
}

/// Sends a request of the project; what it used is counted by the time that this returns.
pub async fn send(gateway: &Gateway, body: &Value) -> Reply {
    let reply = gateway.send_as("web", body).await;
    counted().await;
    reply
}

/// It is counted by a task, which has nothing to wait for.
pub async fn counted() {
    for _ in 0..16 {
        yield_now().await;
    }
}

fn echo() -> Answer {
    calls(&[("s__echo", json!({"text": "a"}))])
}

/// An answer of 12 tokens that has cost this.
fn dear(cost: f64) -> Answer {
    let mut answer = said("dear");
    answer["usage"]["cost"] = cost.into();
    json_answer(200, &answer)
}

#[tokio::test]
async fn a_project_that_has_used_up_its_tokens_is_refused_before_any_model_is_asked() {
    let budget = web().with_tokens_per_day(36).unwrap();
    let gateway = budgeted([echo(), says("a"), says("b")], budget).await;
    // 24 tokens, and 12.
    for _ in 0..2 {
        assert_eq!(send(&gateway, &auto(json!({}))).await.status, 200);
    }
    let asked = gateway.model.asked().len();
    for stream in [false, true] {
        let reply = send(&gateway, &auto(json!({"stream": stream}))).await;
        let (status, code, param) = reply.error();
        assert_eq!((status, &*code), (429, "mcp_budget_exceeded"));
        assert_eq!(param, Value::Null);
        let message = reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains("36 tokens"), "{message}");
        assert_eq!(reply.headers["x-should-retry"], "false");
        let seconds: u64 = reply.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((1..=24 * 60 * 60).contains(&seconds), "{seconds}");
    }
    assert_eq!(gateway.model.asked().len(), asked);

    gateway.model.add([says("batch"), says("passes")]);
    assert_eq!(gateway.send_as("batch", &auto(json!({}))).await.status, 200);
    // What opts in to nothing is none of the layer's business.
    let plain = json!({"model": "m", "messages": []});
    assert_eq!(send(&gateway, &plain).await.status, 200);
}

#[tokio::test]
async fn costs_count_where_they_are_known_and_tokens_always() {
    let budget = web().with_cost_per_day(0.3).unwrap();
    let gateway = budgeted([says("free"), dear(0.1), dear(0.2)], budget).await;
    for _ in 0..3 {
        assert_eq!(send(&gateway, &auto(json!({}))).await.status, 200);
    }
    let reply = send(&gateway, &auto(json!({}))).await;
    assert_eq!(reply.error().1, "mcp_budget_exceeded");
    let message = reply.json()["error"]["message"].to_string();
    assert!(message.contains("a cost of 0.3"), "{message}");

    let budget = web().with_tokens_per_day(12).unwrap();
    let gateway = budgeted([dear(0.1)], budget).await;
    assert_eq!(send(&gateway, &auto(json!({}))).await.status, 200);
    assert_eq!(send(&gateway, &auto(json!({}))).await.status, 429);
}

/// Neither a failure nor a caller who has gone makes what was used cheaper.
#[tokio::test]
async fn an_exchange_that_failed_or_was_left_has_used_what_it_used() {
    let budget = || web().with_tokens_per_day(12).unwrap();
    let gateway = budgeted([echo(), json_answer(500, &json!({}))], budget()).await;
    let gateway = gateway.layered(|layer| layer.with_turn_retries(0));
    let reply = send(&gateway, &auto(json!({}))).await;
    assert_eq!(reply.error().1, "upstream_error");
    assert_eq!(send(&gateway, &auto(json!({}))).await.status, 429);

    let slow = calls(&[("s__slow", json!({"ms": 60_000}))]);
    let gateway = budgeted([slow], budget())
        .await
        .layered(McpLayer::without_exchanges);
    let body = auto(json!({}));
    let begun = async {
        while gateway.server.calls() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = gateway.send_as("web", &body) => panic!("answered"),
        () = begun => {}
    }
    counted().await;
    assert_eq!(send(&gateway, &auto(json!({}))).await.status, 429);
}

/// The exchange has ended when the call does; a repeat goes on from its result.
#[tokio::test]
async fn a_call_that_runs_on_after_its_caller_hung_up_has_its_price_and_has_it_once() {
    for (cost, is_repeated) in [(1.0, false), (1.5, true)] {
        let slow = calls(&[("s__slow", json!({"ms": 500}))]);
        let budget = web().with_cost_per_day(cost).unwrap();
        let gateway = budgeted([slow, says("done"), says("more")], budget).await;
        let gateway = gateway.layered(|layer| {
            layer
                .with_prices([Price::new("m", 0.0, 0.0)])
                .with_tool_prices([ToolPrice::new("*", 1.0)])
        });
        let body = auto(json!({}));
        tokio::select! {
            _ = gateway.send_as("web", &body) => panic!("answered"),
            () = until("the tool runs", || gateway.server.calls() == 1) => {}
        }
        let used_up = async || {
            let other = auto(json!({"seed": 1}));
            send(&gateway, &other).await.status == 429
        };
        match is_repeated {
            true => assert_eq!(send(&gateway, &body).await.status, 200),
            false => tokio::time::sleep(std::time::Duration::from_millis(1500)).await,
        }
        assert_eq!(gateway.server.calls(), 1);
        assert_eq!(used_up().await, !is_repeated);
    }
}

/// Its stream goes through as it comes, and says at its end what it has used.
#[tokio::test]
async fn a_stream_that_goes_through_counts_as_well() {
    let chunk = |delta: Value, usage: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": null});
        format!(
            "data: {}\n\n",
            json!({"id": "c", "choices": [choice], "usage": usage})
        )
    };
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 2});
    let stream = chunk(json!({"role": "assistant", "content": "a"}), Value::Null)
        + &chunk(json!({}), usage)
        + "data: [DONE]\n\n";
    let head = [("content-type", "text/event-stream")];
    let answer = raw_answer(200, &head, [stream]);
    let gateway = budgeted([answer], web().with_tokens_per_day(12).unwrap()).await;
    assert_eq!(
        send(&gateway, &auto(json!({"stream": true}))).await.status,
        200
    );
    assert_eq!(send(&gateway, &auto(json!({}))).await.status, 429);
}

#[tokio::test]
async fn a_default_that_there_is_no_budget_for_is_left_out() {
    let default = DefaultServers::new("web", ["s".parse().unwrap()]);
    let gateway = Gateway::new([says("a"), says("b")]).await.layered(|layer| {
        let layer = layer.with_defaults([default]).unwrap();
        layer
            .with_budgets([web().with_tokens_per_day(12).unwrap()])
            .unwrap()
    });
    let plain = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    for has_tools in [true, false] {
        assert_eq!(send(&gateway, &plain).await.status, 200);
        let asked = gateway.model.asked().pop().unwrap().json();
        assert_eq!(asked.get("tools").is_some(), has_tools);
    }
}

#[tokio::test]
async fn calls_of_tools_with_a_price_count_into_the_cost() {
    let traces = MemoryTraces::default();
    let failing = calls(&[
        ("s__echo", json!({"text": "a"})),
        ("s__fail", json!({})),
        ("s__echo", json!({"text": 1.5})),
        ("s__add", json!({"a": 1, "b": 2})),
    ]);
    let gateway = Gateway::new([failing, says("done"), says("none")])
        .await
        .layered(|layer| {
            layer
                .with_prices([Price::new("m", 1e6, 0.0)])
                .with_tool_prices([
                    ToolPrice::new("s__echo", 0.25),
                    ToolPrice::new("s__f*", 0.5),
                    ToolPrice::new("s__fail", 9.0),
                ])
                .add_trace_sink(traces.clone())
        });
    let reply = gateway.send(&auto(json!({}))).await;
    let receipt = reply.receipt();
    let costs = receipt["calls"].as_array().unwrap().iter();
    let costs: Vec<_> = costs.map(|call| call["cost"].clone()).collect();
    // Arguments that do not fit never reach the server.
    assert_eq!(costs, [json!(0.25), json!(0.5), Value::Null, Value::Null]);
    // Two turns of 10 tokens each, and the calls.
    assert_eq!(reply.json()["usage"]["cost"], 20.75);
    assert_eq!(receipt["usage_by_round"][0]["cost"], 10.0);
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.json()["usage"]["cost"], 10.0);
    let (filter, page) = (TraceFilter::default(), TracePage::default());
    let listing = traces.list("default", &filter, &page).await.unwrap();
    let costs = listing.traces.iter().map(|trace| {
        let usage = trace.usage.as_ref().unwrap();
        usage["cost"].as_f64().unwrap()
    });
    let mut costs: Vec<_> = costs.collect();
    costs.sort_by(f64::total_cmp);
    assert_eq!(costs, [10.0, 20.75]);
}

/// It has run, and its server has answered: whatever becomes of the answer, it has its price.
#[tokio::test]
async fn a_call_whose_result_is_withheld_or_an_error_costs_what_it_costs() {
    let call = || {
        calls(&[
            ("s__echo", json!({"text": "a"})),
            ("s__refuse", json!({})),
            ("s__echo", json!({"text": "never"})),
        ])
    };
    for does in [Does::Deny("no"), Does::Fail] {
        let guard = Sentry::new(move |asked| match &asked["arguments"]["text"] {
            text if text == "never" => Does::Deny("not that"),
            _ if asked["stage"] == "after" => does.clone(),
            _ => Does::Allow,
        });
        let gateway = budgeted(
            [call(), says("done")],
            web().with_cost_per_day(2.0).unwrap(),
        );
        let gateway = gateway.await.layered(|layer| {
            layer
                .with_guards(Guards::new([GuardRule::new("g", guard)]))
                .with_prices([Price::new("m", 0.0, 0.0)])
                .with_tool_prices([ToolPrice::new("*", 1.0)])
        });
        let reply = send(&gateway, &auto(json!({}))).await;
        let receipt = reply.receipt();
        let costs = receipt["calls"].as_array().unwrap().iter();
        let costs: Vec<_> = costs.map(|call| call["cost"].clone()).collect();
        assert_eq!(costs, [json!(1.0), json!(1.0), Value::Null], "{receipt}");
        assert_eq!(send(&gateway, &auto(json!({}))).await.status, 429);
    }
}

#[tokio::test]
async fn tokens_count_however_a_service_writes_their_number() {
    for usage in [
        json!({"prompt_tokens": 10.0, "completion_tokens": 2}),
        json!({"prompt_tokens": 1e1, "completion_tokens": 2.0}),
        json!({"total_tokens": 12.0}),
    ] {
        let mut answer = said("a");
        answer["usage"] = usage;
        let budget = web().with_tokens_per_day(12).unwrap();
        let gateway = budgeted([json_answer(200, &answer)], budget).await;
        assert_eq!(send(&gateway, &auto(json!({}))).await.status, 200);
        assert_eq!(send(&gateway, &auto(json!({}))).await.status, 429);
    }
}

#[tokio::test]
async fn a_sum_of_which_a_part_is_not_known_is_no_cost() {
    let turn = |cost: Option<f64>, answer: Value| {
        let mut answer = answer;
        if let Some(cost) = cost {
            answer["usage"]["cost"] = cost.into();
        }
        json_answer(200, &answer)
    };
    let echo = || called(&[("s__echo", json!({"text": "a"}))]);
    for (first, second, sum) in [
        (Some(0.5), Some(0.25), json!(1.75)),
        (Some(0.5), None, Value::Null),
        (None, Some(0.25), Value::Null),
        (None, None, Value::Null),
    ] {
        let answers = [turn(first, echo()), turn(second, said("done"))];
        let gateway = Gateway::new(answers)
            .await
            .layered(|layer| layer.with_tool_prices([ToolPrice::new("*", 1.0)]));
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.json()["usage"]["cost"], sum);
        assert_eq!(reply.receipt()["calls"][0]["cost"], 1.0);
    }
}

/// What is not known is not nothing: whatever is known of the rest counts.
#[tokio::test]
async fn a_turn_without_a_cost_takes_nothing_away_from_what_a_budget_counts() {
    let turn = |cost: Option<f64>, mut answer: Value| {
        match cost {
            Some(cost) => answer["usage"]["cost"] = cost.into(),
            None => drop(answer.as_object_mut().unwrap().remove("usage")),
        }
        json_answer(200, &answer)
    };
    let echo = || called(&[("s__echo", json!({"text": "a"}))]);
    for (first, second, used) in [(None, None, 1.0), (Some(2.0), None, 3.0)] {
        for (budget, status) in [(used, 429), (used + 0.5, 200)] {
            let answers = [
                turn(first, echo()),
                turn(second, said("done")),
                says("more"),
            ];
            let budget = web().with_cost_per_day(budget).unwrap();
            let gateway = budgeted(answers, budget).await;
            let gateway =
                gateway.layered(|layer| layer.with_tool_prices([ToolPrice::new("*", 1.0)]));
            assert_eq!(send(&gateway, &auto(json!({}))).await.status, 200);
            let next = send(&gateway, &auto(json!({}))).await;
            assert_eq!(next.status, status, "{first:?} {used}");
        }
    }
}

/// Nobody knows what the turn behind the resumed calls has cost, which goes to the caller as it comes.
#[tokio::test]
async fn the_price_of_calls_alone_is_no_cost_of_a_stream_either() {
    for said in [None, Some(usage(10, 2))] {
        let traces = MemoryTraces::default();
        let chunks = [
            chunk(json!({"role": "assistant", "content": "a"})),
            finish("stop"),
        ];
        let chunks: Vec<_> = chunks.into_iter().chain(said).collect();
        let gateway = Gateway::new([streams(&chunks)]).await.layered(|layer| {
            layer
                .with_tool_prices([ToolPrice::new("*", 1.0)])
                .add_trace_sink(traces.clone())
        });
        let call = &called(&[("s__echo", json!({"text": "a"}))])["choices"][0]["message"];
        let messages = json!([{"role": "user", "content": "hi"}, call]);
        let resumes = json!({"enabled": true, "servers": ["s"], "resume_tool_calls": true});
        let body = with_mcp(resumes, json!({"stream": true, "messages": messages}));
        assert_eq!(gateway.send(&body).await.status, 200);
        assert_eq!(gateway.server.calls(), 1);
        let (filter, page) = (TraceFilter::default(), TracePage::default());
        let listing = traces.list("default", &filter, &page).await.unwrap();
        let used = listing.traces[0].usage.as_ref();
        assert_eq!(used.and_then(|usage| usage.get("cost")), None);
    }
}

/// Its server has answered; that a guard is still asked about the result makes no difference.
#[tokio::test]
async fn a_call_whose_caller_leaves_while_a_guard_reads_its_result_has_its_price() {
    let guard = Sentry::after(Does::Hang);
    let echo = || calls(&[("s__echo", json!({"text": "a"}))]);
    let gateway = budgeted(
        [echo(), says("more")],
        web().with_cost_per_day(1.0).unwrap(),
    )
    .await;
    let gateway = gateway.layered(|layer| {
        layer
            .without_exchanges()
            .with_guards(Guards::new([GuardRule::new("g", guard.clone())]))
            .with_tool_prices([ToolPrice::new("*", 1.0)])
    });
    let body = auto(json!({}));
    tokio::select! {
        _ = gateway.send_as("web", &body) => panic!("answered"),
        () = until("the guard is asked", || !guard.tools("after").is_empty()) => {}
    }
    counted().await;
    assert_eq!(send(&gateway, &body).await.status, 429);
}
