{{/* What pods of the worker and of the exporter share. Each takes (dict "root" $ "component" "worker" "values" .Values.worker). */}}

{{- define "penstock.podMetadata" -}}
annotations:
  checksum/config: {{ include "penstock.toml" .root | sha256sum }}
  {{- if .root.Values.redis.url }}
  checksum/redis: {{ .root.Values.redis.url | sha256sum }}
  {{- end }}
  {{- if .root.Values.valkey.password }}
  checksum/valkey: {{ .root.Values.valkey.password | sha256sum }}
  {{- end }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
labels:
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "penstock.labels" . | nindent 2 }}
{{- end }}

{{- define "penstock.podSpec" -}}
serviceAccountName: {{ include "penstock.serviceAccountName" .root }}
# Nothing here talks to the API server; the token of IRSA is another one, which its webhook mounts.
automountServiceAccountToken: false
# Without this every Service in the namespace would put variables into the pods, some of them beginning with PENSTOCK_.
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true # the image's user has a number, which the kubelet checks
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "penstock.container" -}}
name: {{ .component }}
image: {{ include "penstock.image" (dict "image" .root.Values.image "default" .root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: [{{ .component }}]
securityContext: {{- include "penstock.containerSecurity" . | nindent 2 }}
ports:
  - {name: sidecar, containerPort: {{ .root.Values.settings.sidecar_port }}, protocol: TCP}
startupProbe: # two minutes
  httpGet: {path: /healthz, port: sidecar}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: sidecar}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: sidecar}
  periodSeconds: 10
  timeoutSeconds: 6 # it asks Redis, within five seconds
  failureThreshold: 2
resources: {{- toYaml .values.resources | nindent 2 }}
env:
  - {name: PENSTOCK_CONFIG, value: /etc/penstock/penstock.toml}
  {{- include "penstock.redisEnv" .root | trim | nindent 2 }}
  {{- if eq .component "worker" }}
  {{- with include "penstock.awsEnv" .root | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- end }}
  {{- with .values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumeMounts:
  - {name: config, mountPath: /etc/penstock, readOnly: true}
  - {name: tmp, mountPath: /tmp}
  {{- if and (eq .component "worker") (include "penstock.awsFile" .root) }}
  - {name: aws, mountPath: /etc/penstock-aws, readOnly: true}
  {{- end }}
  {{- with .values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "penstock.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "penstock.volumes" -}}
- name: config
  configMap: {name: {{ include "penstock.fullname" .root }}}
- name: tmp # for `penstock dead export`: the dead letters' default limit of 256 MiB in base64
  emptyDir: {sizeLimit: 512Mi}
{{- if and (eq .component "worker") (include "penstock.awsFile" .root) }}
- name: aws
  secret:
    secretName: {{ .root.Values.aws.existingSecret.name | default (printf "%s-aws" (include "penstock.fullname" .root)) }}
    items:
      - {key: {{ include "penstock.awsFile" .root }}, path: credentials}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "penstock.redisEnv" -}}
{{- if .Values.valkey.enabled }}
- name: VALKEY_PASSWORD
  valueFrom:
    secretKeyRef: {{- include "penstock.valkeySecret" . | nindent 6 }}
- name: PENSTOCK_REDIS_URL
  value: redis://:$(VALKEY_PASSWORD)@{{ include "penstock.fullname" . }}-valkey:6379/0
{{- else }}
- name: PENSTOCK_REDIS_URL
  valueFrom:
    secretKeyRef:
      {{- if .Values.redis.url }}
      name: {{ include "penstock.fullname" . }}-redis
      key: redis-url
      {{- else }}
      name: {{ .Values.redis.existingSecret.name }}
      key: {{ .Values.redis.existingSecret.key }}
      {{- end }}
{{- end }}
{{- end }}

{{- define "penstock.valkeySecret" -}}
{{- if .Values.valkey.existingSecret.name -}}
name: {{ .Values.valkey.existingSecret.name }}
key: {{ .Values.valkey.existingSecret.key }}
{{- else -}}
name: {{ include "penstock.fullname" . }}-valkey
key: password
{{- end }}
{{- end }}

{{/* The key of the Secret that holds a credentials file, if one does. */}}
{{- define "penstock.awsFile" -}}
{{- if .Values.aws.accessKeyId -}}
credentials
{{- else if .Values.aws.existingSecret.name -}}
{{ .Values.aws.existingSecret.credentialsKey }}
{{- end }}
{{- end }}

{{- define "penstock.awsEnv" -}}
{{- $secret := .Values.aws.existingSecret }}
{{- if include "penstock.awsFile" . }}
- {name: AWS_SHARED_CREDENTIALS_FILE, value: /etc/penstock-aws/credentials}
{{- else if $secret.name }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.accessKeyIdKey }}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.secretAccessKeyKey }}}
{{- with $secret.sessionTokenKey }}
- name: AWS_SESSION_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ $secret.name }}, key: {{ . }}}
{{- end }}
{{- end }}
{{- end }}
