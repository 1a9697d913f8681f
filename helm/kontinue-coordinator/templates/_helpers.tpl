{{/* Name of everything. */}}
{{- define "kontinue-coordinator.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Of what is outside of the namespace. */}}
{{- define "kontinue-coordinator.clusterName" -}}
{{- printf "%s.%s" .Release.Namespace (include "kontinue-coordinator.fullname" .) -}}
{{- end -}}

{{- define "kontinue-coordinator.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kontinue-coordinator.labels" -}}
{{ include "kontinue-coordinator.selectorLabels" . }}
app.kubernetes.io/component: coordinator
app.kubernetes.io/part-of: kontinue
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "kontinue-coordinator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kontinue-coordinator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is required when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "kontinue-coordinator.subject" -}}
- kind: ServiceAccount
  name: {{ include "kontinue-coordinator.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* What it needs wherever it looks after something: a test compares it with what it asks for. */}}
{{- define "kontinue-coordinator.rules" -}}
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [waitgroups, onces]
  verbs: [list, watch, delete]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [mutexes, rwmutexes]
  verbs: [list, watch]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [waitgroups/status, mutexes/status, onces/status, rwmutexes/status]
  verbs: [update]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [semaphores]
  verbs: [list, watch]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [permits]
  verbs: [get, list, watch, delete]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [semaphores/status, permits/status]
  verbs: [update]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [barriers]
  verbs: [list, watch]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [arrivals]
  verbs: [list, watch, delete]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [barriers/status, arrivals/status]
  verbs: [update]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [leases]
  verbs: [list, watch]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [leaserequests]
  verbs: [get, list, watch, delete]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [leases/status, leaserequests/status]
  verbs: [update]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [gates]
  verbs: [list, watch]
- apiGroups: {{ toJson .Values.apiGroups }}
  resources: [gates/status]
  verbs: [update]
# What Gates wait for, besides the kinds above.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch]
# Whether those that hold something still live.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [kontinue.cloud]
  resources: [executions]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* What no schema can say. */}}
{{- define "kontinue-coordinator.check" -}}
{{- if not .Values.image -}}
{{- fail "\n\nimage is required: an image with kontinue, for example --set image=REGISTRY/NAME:TAG" -}}
{{- end -}}
{{- $longest := divf (subf .Values.lease.durationSeconds 5) 2 -}}
{{- if gt (float64 .Values.lease.renewSeconds) $longest -}}
{{- fail (printf "\n\nlease.renewSeconds %v is too long for lease.durationSeconds %v: at most %v, half of the duration less 5 s, because one lost renewal must not cost the Lease" .Values.lease.renewSeconds .Values.lease.durationSeconds $longest) -}}
{{- end -}}
{{- end -}}
