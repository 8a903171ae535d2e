"""From data to a monitored endpoint. Run it in this folder, commit what it writes into manifests/, then `reconcile --wait`."""

from learn import learn

from reconciler.client import MLOpsClient

with MLOpsClient.from_project() as client:
    client.datasets.ensure("tickets", path="tickets.csv", settle="0s")
    tickets = client.version_dataset("tickets")
    with client.start_run("words", params={"words": 40}, datasets=[tickets]):
        model, accuracy = learn(tickets.path, words=40)
        client.log_metrics({"accuracy": accuracy})
        client.log_model(model)
    client.experiments.ensure("words", metric={"name": "accuracy"}, datasets=["tickets"])
    client.models.ensure("urgent", experiment="words", gates={"minimum": {"accuracy": 0.7}})
    client.deploy_model("urgent@champion", resources={"memory": "512Mi"})
    client.monitor_predictions("urgent", window={"count": 20}, minRows=10, checks={"operations": {"errorRate": 0.05}})
