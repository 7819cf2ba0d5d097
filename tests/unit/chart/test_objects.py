"""Every object that the chart makes, from several value files: accepted by Kubernetes's own schemas, and by policy."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import helm_python as helm
import kubernetes_validate
import pytest

from tests.support.chart import CHART, NAMESPACE, VALUE_FILES, Object, container, env, pod, rendered, values_of

KUBERNETES = ("1.27.0", "1.37.0")
"""The oldest that Chart.yaml admits, and the newest that there are schemas of."""
FOREIGN = {"PodMonitor", "PrometheusRule", "ScaledObject"}
"""Kinds of operators, of which Kubernetes has no schemas."""
LINT_WARNING = 2

every_file = pytest.mark.parametrize("name", VALUE_FILES)


def _workloads() -> Iterator[tuple[str, Object]]:
    for name in VALUE_FILES:
        for one in rendered(name).workloads():
            yield f"{name}: {one['metadata']['name']}", one


WORKLOADS = dict(_workloads())
every_workload = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)


@every_file
def test_helm_finds_nothing_to_complain_about(name: str) -> None:
    report = helm.lint(CHART, values_of(name), strict=True, namespace=NAMESPACE)
    assert [one for one in report["messages"] if one["severity"] >= LINT_WARNING] == []


@every_file
def test_every_object_is_valid_for_kubernetes(name: str) -> None:
    for one in rendered(name).objects:
        for version in KUBERNETES:
            if one["kind"] in FOREIGN:
                with pytest.raises(kubernetes_validate.SchemaNotFoundError):
                    kubernetes_validate.validate(one, version, strict=True)
            else:
                kubernetes_validate.validate(one, version, strict=True)


@every_file
def test_every_object_has_its_release_in_its_labels_and_a_name_of_its_own(name: str) -> None:
    objects = rendered(name).objects
    for one in objects:
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "penstock"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert {"app.kubernetes.io/name", "app.kubernetes.io/component", "helm.sh/chart"} < set(labels)
        assert one["metadata"]["namespace"] == NAMESPACE
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(set(names)) == len(names)


@every_workload
def test_no_pod_can_become_root_or_write_to_its_image(workload: Object) -> None:
    spec, security = pod(workload), container(workload)["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"].get("runAsUser", 1) != 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & set(spec)
    assert not any("hostPath" in volume for volume in spec["volumes"])
    assert not any("hostPort" in port for port in container(workload)["ports"])


@every_workload
def test_no_pod_gets_a_token_of_kubernetes_or_variables_of_services(workload: Object) -> None:
    assert pod(workload)["automountServiceAccountToken"] is False
    assert pod(workload)["enableServiceLinks"] is False


@every_workload
def test_every_container_says_what_it_needs_and_which_image_it_is(workload: Object) -> None:
    resources = container(workload)["resources"]
    assert {"cpu", "memory"} <= set(resources["requests"])
    assert "memory" in resources["limits"]
    image = container(workload)["image"]
    assert "@sha256:" in image or image.rpartition(":")[2] not in ("", "latest")
    assert "/" not in image.rpartition(":")[2] or "@sha256:" in image, "an image without a tag is the latest"


@every_workload
def test_every_container_is_probed_on_a_port_that_it_has(workload: Object) -> None:
    ports = {port["name"] for port in container(workload)["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        how = container(workload)[probe]
        where = how.get("httpGet") or how.get("tcpSocket")
        assert "exec" in how or where["port"] in ports


@every_workload
def test_selectors_find_the_pods_and_their_volumes_exist(workload: Object) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for constraint in pod(workload).get("topologySpreadConstraints", []):
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
    claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
    volumes = {volume["name"] for volume in pod(workload)["volumes"]} | claims
    assert {mount["name"] for mount in container(workload)["volumeMounts"]} == volumes


@every_file
def test_what_selects_pods_selects_those_of_its_component(name: str) -> None:
    release = rendered(name)
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in release.workloads()]

    def selected(labels: Object, expressions: list[Object] | None = None) -> set[str]:
        return {
            one["app.kubernetes.io/component"]
            for one in pods
            if labels.items() <= one.items() and all(one[each["key"]] in each["values"] for each in expressions or [])
        }

    components = {one["app.kubernetes.io/component"] for one in pods}
    for one in release.of("Service"):
        assert selected(one["spec"]["selector"]) == {one["metadata"]["labels"]["app.kubernetes.io/component"]}
    for one in release.of("PodDisruptionBudget"):
        assert selected(one["spec"]["selector"]["matchLabels"]) == {"worker"}
    for one in release.of("PodMonitor"):
        selector = one["spec"]["selector"]
        assert selected(selector["matchLabels"], selector["matchExpressions"]) == components - {"valkey"}
    guarded: set[str] = set()
    for one in release.of("NetworkPolicy"):
        selector = one["spec"]["podSelector"]
        guarded |= selected(selector["matchLabels"], selector.get("matchExpressions"))
    assert guarded == (components if release.of("NetworkPolicy") else set())


@every_file
def test_what_is_referred_to_is_made_by_the_chart_or_named_in_the_values(name: str) -> None:
    release, values = rendered(name), values_of(name)
    made = {(one["kind"], one["metadata"]["name"]) for one in release.objects}
    given = {values.get(part, {}).get("existingSecret", {}).get("name") for part in ("redis", "aws", "valkey")}
    for workload in release.workloads():
        for variable in env(workload).values():
            secret = variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name")
            assert secret is None or ("Secret", secret) in made or secret in given
        for volume in pod(workload)["volumes"]:
            secret = volume.get("secret", {}).get("secretName")
            assert secret is None or ("Secret", secret) in made or secret in given
            config = volume.get("configMap", {}).get("name")
            assert config in (None, "ca") or ("ConfigMap", config) in made
        account = pod(workload).get("serviceAccountName", "default")
        assert account == "default" or ("ServiceAccount", account) in made


@every_file
def test_the_sidecars_are_bound_to_all_addresses_and_reached_only_by_whom_the_policy_names(name: str) -> None:
    release = rendered(name)
    host = values_of(name).get("settings", {}).get("sidecar_host", "0.0.0.0")  # noqa: S104 - what the chart does
    assert ipaddress.ip_address(host).is_unspecified
    for policy in release.of("NetworkPolicy"):
        assert "Ingress" in policy["spec"]["policyTypes"]
        for rule in policy["spec"]["ingress"]:
            assert rule["from"], "an empty list would let everybody in"
            assert [port["port"] for port in rule["ports"]] in (["sidecar"], ["valkey"])
