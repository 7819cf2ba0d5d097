{{/* What the schema cannot say, or not clearly. Included by the worker, which is always there. */}}
{{- define "penstock.checks" -}}
{{- $v := .Values }}
{{- if not $v.image.repository }}
{{- fail "image.repository: name the image that you built from the Dockerfile and pushed to your registry; none is published" }}
{{- end }}
{{- $sources := list }}
{{- if $v.redis.url }}{{ $sources = append $sources "redis.url" }}{{ end }}
{{- if $v.redis.existingSecret.name }}{{ $sources = append $sources "redis.existingSecret.name" }}{{ end }}
{{- if $v.valkey.enabled }}{{ $sources = append $sources "valkey.enabled" }}{{ end }}
{{- if not $sources }}
{{- fail "no Redis is named: set redis.existingSecret.name, redis.url, or for a trial valkey.enabled=true" }}
{{- else if gt (len $sources) 1 }}
{{- fail (printf "%s name a Redis each: keep one of them" (join " and " $sources)) }}
{{- end }}
{{- if and $v.valkey.enabled (not $v.valkey.password) (not $v.valkey.existingSecret.name) }}
{{- fail "valkey.enabled needs a password: set valkey.password (openssl rand -hex 16 makes one) or valkey.existingSecret.name" }}
{{- end }}
{{- if and $v.valkey.password $v.valkey.existingSecret.name }}
{{- fail "valkey.password and valkey.existingSecret.name name a password each: keep one of them" }}
{{- end }}
{{- if ne (empty $v.aws.accessKeyId) (empty $v.aws.secretAccessKey) }}
{{- fail "aws.accessKeyId and aws.secretAccessKey go together: set both, or none" }}
{{- end }}
{{- if and $v.aws.accessKeyId $v.aws.existingSecret.name }}
{{- fail "aws.accessKeyId and aws.existingSecret.name name credentials each: keep one of them" }}
{{- end }}
{{- if $v.autoscaling.enabled }}
{{- if not $v.autoscaling.prometheusAddress }}
{{- fail "autoscaling.enabled needs autoscaling.prometheusAddress: KEDA asks that Prometheus for the queue's age and depth" }}
{{- end }}
{{- if gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas) }}
{{- fail "autoscaling.minReplicas must not be above autoscaling.maxReplicas" }}
{{- end }}
{{- if and (eq (int $v.autoscaling.minReplicas) 0) (not $v.exporter.enabled) }}
{{- fail "autoscaling.minReplicas=0 needs exporter.enabled=true: without a worker nothing else tells how much waits" }}
{{- end }}
{{- if and (eq (int $v.autoscaling.minReplicas) 0) $v.alerts.enabled (eq (int $v.alerts.thresholds.worker_missing_writes) 0) }}
{{- fail "autoscaling.minReplicas=0 needs alerts.thresholds.worker_missing_writes=1: with 0 the absence of workers is an alert" }}
{{- end }}
{{- end }}
{{- range .Files.Get "files/thresholds.yaml" | fromYamlArray }}
{{- if eq .unit "duration" }}
{{- $given := index $v.alerts.thresholds .name }}
{{- $seconds := include "penstock.seconds" $given | int }}
{{- if or (lt $seconds (include "penstock.seconds" .min | int)) (gt $seconds (include "penstock.seconds" .max | int)) }}
{{- fail (printf "alerts.thresholds.%s is %s: it must be from %s to %s" .name $given .min .max) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The seconds of a duration such as 90s, 5m, 1h or 7d. */}}
{{- define "penstock.seconds" -}}
{{- mul (regexFind "^[0-9]+" .) (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) (regexFind "[smhd]$" .)) }}
{{- end }}
