{{/* Names, labels and the image. */}}

{{- define "penstock.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* 50 of the 63 characters that a name may have: the longest suffix is appended to it. */}}
{{- define "penstock.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "penstock.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "penstock.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The labels that never change. Takes (dict "root" $ "component" "worker"). */}}
{{- define "penstock.selector" -}}
app.kubernetes.io/name: {{ include "penstock.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "penstock.labels" -}}
{{ include "penstock.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Takes (dict "image" .Values.image "default" .Chart.AppVersion). */}}
{{- define "penstock.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .default }}
{{- end }}
{{- end }}

{{- define "penstock.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "penstock.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* The settings as TOML, whose strings and numbers are written as JSON writes them. */}}
{{- define "penstock.toml" -}}
{{- range $name, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
{{- $name }} = {{ toJson $value }}
{{ end }}
{{- end }}
{{- end }}

{{/* What tells this queue's series from others': the rules group by it. */}}
{{- define "penstock.queue" -}}
{{- .Values.settings.queue | default "default" }}
{{- end }}

{{/* After stop_timeout a worker still gives back what it holds and ends its parts, each step within a limit of its own. */}}
{{- define "penstock.graceSeconds" -}}
{{- add 20 (ceil .Values.settings.stop_timeout) }}
{{- end }}
