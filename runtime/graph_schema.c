/* SPDX-License-Identifier: Apache-2.0
 *
 * The key table of the description language. The order is that of the language reference. */
#include "runtime/graph_schema.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include "runtime/error.h"

#define DTYPES   "fp32|fp16|bf16"
#define COMPUTES "fp32|fp16|bf16|int8"
#define FAMILIES "mixtral|olmoe|qwen2_moe|qwen3_moe|llama|qwen2|qwen3"
#define POLICIES "homes|eager|prio|ws|lws|dm|dmda|dmdas"
#define MOST     1e9 /* of counts that have no tighter limit: below the largest int */

const struct graph_key graph_keys[] = {
	{"graph", KEY_WORD, NULL, "the file's name", NULL, 0, 0, "the description's name, in tables and metrics"},

	{"model", KEY_GROUP, NULL, "none: a checkpoint is named", NULL, 0, 0,
		"the model card: sizes without weights; a checkpoint replaces it"},
	{"model.name", KEY_WORD, NULL, "the graph's name", NULL, 0, 0, "what tables call the model"},
	{"model.family", KEY_WORD, NULL, "mixtral with experts, llama without", FAMILIES, 0, 0,
		"the architecture, as model_type of config.json names it"},
	{"model.dtype", KEY_WORD, NULL, "\"fp16\"", DTYPES, 0, 0, "of the weights as stored"},
	{"model.layers", KEY_INTEGER, "layers", NULL, NULL, 1, 1024, "transformer layers"},
	{"model.hidden", KEY_INTEGER, "columns", NULL, NULL, 1, 1048576, "width of the residual stream"},
	{"model.heads", KEY_INTEGER, "heads", NULL, NULL, 1, 65536, "query heads"},
	{"model.kv_heads", KEY_INTEGER, "heads", "model.heads", NULL, 1, 65536, "key and value heads"},
	{"model.head_dim", KEY_INTEGER, "columns", "model.hidden / model.heads", NULL, 2, 65536,
		"width of a head, even"},
	{"model.vocab", KEY_INTEGER, "tokens", NULL, NULL, 1, 16777216, "size of the vocabulary"},
	{"model.experts", KEY_INTEGER, "experts", "0", NULL, 0, 1024, "experts a layer; 0: a dense model"},
	{"model.top_k", KEY_INTEGER, "experts", "must be given with experts", NULL, 1, 32,
		"experts that a token visits"},
	{"model.expert_hidden", KEY_INTEGER, "columns", "must be given with experts", NULL, 1, 1048576,
		"width of an expert"},
	{"model.normalize_top_k", KEY_BOOLEAN, NULL, "the family's", NULL, 0, 0,
		"divide the chosen experts' weights by their sum"},
	{"model.shared_hidden", KEY_INTEGER, "columns", "0", NULL, 0, 1048576,
		"width of the gated shared expert; 0: none"},
	{"model.mlp_hidden", KEY_INTEGER, "columns", "0", NULL, 0, 1048576,
		"width of a dense layer's MLP; 0: no layer is dense"},
	{"model.dense_layers", KEY_INTEGERS, "layer numbers", "[ ]", NULL, 0, 1023,
		"layers with an MLP in place of experts; without experts every layer is dense"},
	{"model.qk_norm", KEY_WORD, NULL, "the family's", "none|head|all", 0, 0,
		"norms of q and k: over each head, or over all heads"},
	{"model.qkv_bias", KEY_BOOLEAN, NULL, "the family's", NULL, 0, 0, "biases of the q, k and v projections"},
	{"model.output_bias", KEY_BOOLEAN, NULL, "false", NULL, 0, 0, "bias of the output projection"},
	{"model.mlp_bias", KEY_BOOLEAN, NULL, "false", NULL, 0, 0, "biases of dense MLPs"},
	{"model.tied_embeddings", KEY_BOOLEAN, NULL, "false", NULL, 0, 0, "the head uses the embedding table"},
	{"model.norm_epsilon", KEY_NUMBER, NULL, "the family's", NULL, 0, 1, "of RMS norms"},
	{"model.clip_qkv", KEY_NUMBER, NULL, "0.0", NULL, 0, 1e9, "clamp of q, k and v; 0: none"},
	{"model.max_positions", KEY_INTEGER, "tokens", "1048576", NULL, 1, MOST,
		"longest sequence the model is made for"},
	{"model.rope_theta", KEY_NUMBER, NULL, "the family's", NULL, 1e-3, 1e15, "base of the rotary embedding"},
	{"model.declared_parameters", KEY_NUMBER, "parameters", "0", NULL, 0, 1e15,
		"what a plan claims, shown beside what is computed"},

	{"machine", KEY_GROUP, NULL, "this host", NULL, 0, 0,
		"the devices and the links between them; usually included from machines/"},
	{"machine.name", KEY_WORD, NULL, "\"unnamed\"", NULL, 0, 0, "what tables call the machine"},
	{"machine.host", KEY_BOOLEAN, NULL, "false", NULL, 0, 0,
		"its devices are logical ones of this host: homes and accounts that any CPU worker serves"},
	{"machine.devices", KEY_LIST, NULL, "on a host as many as the mesh uses", NULL, 0, 0,
		"kinds of device, numbered through in the order given"},
	{"machine.devices[].count", KEY_INTEGER, "devices", "1", NULL, 1, 64, "equal devices"},
	{"machine.devices[].name", KEY_WORD, NULL, "\"device\"", NULL, 0, 0, "what tables call the device"},
	{"machine.devices[].flops", KEY_NUMBER, "FLOP/s", "100e9 on a host, else must be given", NULL, 1e6, 1e18,
		"peak in the compute type"},
	{"machine.devices[].flops_efficiency", KEY_NUMBER, "share", "1.0", NULL, 1e-3, 1,
		"of the peak that kernels reach"},
	{"machine.devices[].bandwidth", KEY_NUMBER, "bytes/s", "15e9 on a host, else must be given", NULL, 1e6, 1e15,
		"of the device's memory, peak"},
	{"machine.devices[].bandwidth_efficiency", KEY_NUMBER, "share", "1.0", NULL, 1e-3, 1,
		"of the peak that kernels reach"},
	{"machine.devices[].memory", KEY_NUMBER, "bytes", "0 on a host: what the host has; else must be given", NULL, 0,
		1e15, "of the device"},
	{"machine.devices[].launch_s", KEY_NUMBER, "seconds", "5e-6", NULL, 0, 1, "fixed cost of a task"},
	{"machine.interconnect", KEY_GROUP, NULL, "none", NULL, 0, 0,
		"one switch with an equal full-duplex link to each device"},
	{"machine.interconnect.name", KEY_WORD, NULL, "\"switch\"", NULL, 0, 0, "what tables call it"},
	{"machine.interconnect.bandwidth", KEY_NUMBER, "bytes/s", NULL, NULL, 1e6, 1e15, "of a link, each way"},
	{"machine.interconnect.latency_s", KEY_NUMBER, "seconds", "5e-6", NULL, 0, 1, "from device to device"},
	{"machine.links", KEY_LIST, NULL, "those of the interconnect", NULL, 0, 0,
		"links one by one, besides or in place of the interconnect"},
	{"machine.links[].from", KEY_INTEGER, "device", NULL, NULL, -64, 63, "one end; -1, -2, …: a switch"},
	{"machine.links[].to", KEY_INTEGER, "device", NULL, NULL, -64, 63, "the other end; -1, -2, …: a switch"},
	{"machine.links[].bandwidth", KEY_NUMBER, "bytes/s", NULL, NULL, 1e6, 1e15, "each way"},
	{"machine.links[].latency_s", KEY_NUMBER, "seconds", "5e-6", NULL, 0, 1, "from end to end"},
	{"machine.cpu", KEY_WORD, NULL, "\"\"", NULL, 0, 0,
		"of a calibrated host (octant calibrate writes this and what follows): its processor"},
	{"machine.measured", KEY_WORD, NULL, "\"\"", NULL, 0, 0, "the day of measuring"},
	{"machine.compute", KEY_WORD, NULL, "\"fp32\"", COMPUTES, 0, 0, "what the measured tasks calculated in"},
	{"machine.cores", KEY_INTEGER, "cores", "1", NULL, 1, 4096, "that this process may use"},
	{"machine.workers", KEY_INTEGER, "workers", "1", NULL, 1, 64, "that were busy together"},
	{"machine.runtime", KEY_LIST, NULL, "costs nothing", NULL, 0, 0, 
		"what the runtime costs, by policy; the first one is of any other"},
	{"machine.runtime[].policy", KEY_WORD, NULL, NULL, NULL, 0, 0, "schedule.policy that it was measured with"},
	{"machine.runtime[].submit_s", KEY_NUMBER, "seconds", "0.0", NULL, 0, 1, "of the submitter, for a task"},
	{"machine.runtime[].task_s", KEY_NUMBER, "seconds", "0.0", NULL, 0, 1, "of a worker, for a task besides the task itself"},
	{"machine.runtime[].hop_s", KEY_NUMBER, "seconds", "machine.runtime[].task_s", NULL, 0, 1,
		"the same for a task that an idle worker waited for"},
	{"machine.runtime[].wake_s", KEY_NUMBER, "seconds", "machine.runtime[].hop_s", NULL, 0, 1,
		"the same for one that slept meanwhile"},
	{"machine.runtime[].awake_s", KEY_NUMBER, "seconds", "0.0", NULL, 0, 1e3, "for so long an idle worker does not sleep"},
	{"machine.kinds", KEY_LIST, NULL, "tasks go by flops and bandwidth", NULL, 0, 0,
		"measured curves: seconds = call_s + flop_s · FLOPs + …"},
	{"machine.kinds[].task", KEY_WORD, NULL, NULL, NULL, 0, 0, "the kind of task, as traces name it"},
	{"machine.kinds[].error", KEY_NUMBER, "share", "0.0", NULL, 0, 1e9, "median error of the fit"},
	{"machine.kinds[].spread", KEY_NUMBER, "share", "0.0", NULL, 0, 1, "of equal tasks: standard deviation / mean"},
	{"machine.kinds[].alone", KEY_GROUP, NULL, "must be given", NULL, 0, 0, "a task beside which no worker is busy"},
	{"machine.kinds[].alone.call_s", KEY_NUMBER, "seconds", "0.0", NULL, 0, 1e3, "once a task"},
	{"machine.kinds[].alone.flop_4_s", KEY_NUMBER, "s/FLOP", "0.0", NULL, 0, 1e3,
		"GEMMs: of the first 4 rows that meet a weight"},
	{"machine.kinds[].alone.flop_16_s", KEY_NUMBER, "s/FLOP", "0.0", NULL, 0, 1e3, "GEMMs: of the 5th to 16th row"},
	{"machine.kinds[].alone.flop_48_s", KEY_NUMBER, "s/FLOP", "0.0", NULL, 0, 1e3, "GEMMs: of the 17th to 48th row"},
	{"machine.kinds[].alone.flop_s", KEY_NUMBER, "s/FLOP", "0.0", NULL, 0, 1e3,
		"GEMMs: of rows beyond; all else but attention over keys"},
	{"machine.kinds[].alone.key_flop_s", KEY_NUMBER, "s/FLOP", "0.0", NULL, 0, 1e3, "attention over keys"},
	{"machine.kinds[].alone.key_tile_s", KEY_NUMBER, "seconds", "0.0", NULL, 0, 1e3,
		"attention: a tile of rows, for each KV head"},
	{"machine.kinds[].alone.key_block_s", KEY_NUMBER, "seconds", "0.0", NULL, 0, 1e3,
		"attention: a block of keys read for a tile, for each KV head"},
	{"machine.kinds[].alone.weight_byte_s", KEY_NUMBER, "s/byte", "0.0", NULL, 0, 1e3, "weights read"},
	{"machine.kinds[].alone.kv_byte_s", KEY_NUMBER, "s/byte", "0.0", NULL, 0, 1e3, "earlier keys and values read"},
	{"machine.kinds[].alone.row_byte_1_s", KEY_NUMBER, "s/byte", "0.0", NULL, 0, 1e3,
		"activations: of a task's first MiB"},
	{"machine.kinds[].alone.row_byte_16_s", KEY_NUMBER, "s/byte", "0.0", NULL, 0, 1e3,
		"activations: of its bytes from there to 16 MiB"},
	{"machine.kinds[].alone.row_byte_s", KEY_NUMBER, "s/byte", "0.0", NULL, 0, 1e3, "activations: of its bytes beyond"},
	{"machine.kinds[].busy", KEY_GROUP, NULL, "machine.kinds[].alone", NULL, 0, 0, "a task beside which all others are"},
	{"machine.kinds[].busy.call_s", KEY_NUMBER, "seconds", "0.0", NULL, 0, 1e3, "once a task"},
	{"machine.kinds[].busy.flop_4_s", KEY_NUMBER, "s/FLOP", "0.0", NULL, 0, 1e3,
		"GEMMs: of the first 4 rows that meet a weight"},
	{"machine.kinds[].busy.flop_16_s", KEY_NUMBER, "s/FLOP", "0.0", NULL, 0, 1e3, "GEMMs: of the 5th to 16th row"},
	{"machine.kinds[].busy.flop_48_s", KEY_NUMBER, "s/FLOP", "0.0", NULL, 0, 1e3, "GEMMs: of the 17th to 48th row"},
	{"machine.kinds[].busy.flop_s", KEY_NUMBER, "s/FLOP", "0.0", NULL, 0, 1e3,
		"GEMMs: of rows beyond; all else but attention over keys"},
	{"machine.kinds[].busy.key_flop_s", KEY_NUMBER, "s/FLOP", "0.0", NULL, 0, 1e3, "attention over keys"},
	{"machine.kinds[].busy.key_tile_s", KEY_NUMBER, "seconds", "0.0", NULL, 0, 1e3,
		"attention: a tile of rows, for each KV head"},
	{"machine.kinds[].busy.key_block_s", KEY_NUMBER, "seconds", "0.0", NULL, 0, 1e3,
		"attention: a block of keys read for a tile, for each KV head"},
	{"machine.kinds[].busy.weight_byte_s", KEY_NUMBER, "s/byte", "0.0", NULL, 0, 1e3, "weights read"},
	{"machine.kinds[].busy.kv_byte_s", KEY_NUMBER, "s/byte", "0.0", NULL, 0, 1e3, "earlier keys and values read"},
	{"machine.kinds[].busy.row_byte_1_s", KEY_NUMBER, "s/byte", "0.0", NULL, 0, 1e3,
		"activations: of a task's first MiB"},
	{"machine.kinds[].busy.row_byte_16_s", KEY_NUMBER, "s/byte", "0.0", NULL, 0, 1e3,
		"activations: of its bytes from there to 16 MiB"},
	{"machine.kinds[].busy.row_byte_s", KEY_NUMBER, "s/byte", "0.0", NULL, 0, 1e3, "activations: of its bytes beyond"},

	{"mesh", KEY_GROUP, NULL, "1 × 1 × 1", NULL, 0, 0, "how the model is cut"},
	{"mesh.stages", KEY_INTEGER, "degree", "1", NULL, 1, 64, "pipeline parallelism: blocks of layers"},
	{"mesh.tensor", KEY_INTEGER, "degree", "1", NULL, 1, 64, "tensor parallelism: parts of the heads"},
	{"mesh.experts", KEY_INTEGER, "degree", "1", NULL, 1, 64, "expert parallelism: groups of experts"},
	{"mesh.expert_tensor", KEY_INTEGER, "degree", "lcm(tensor, experts) / experts", NULL, 1, 64,
		"cut inside each expert"},
	{"mesh.layers", KEY_INTEGERS, "layers", "as even as they go, earlier stages larger", NULL, 1, 1024,
		"layers of each stage"},
	{"mesh.place", KEY_LIST, NULL, "device = stage · S + s", NULL, 0, 0,
		"which device holds which parts; an empty list: the default"},
	{"mesh.place[].device", KEY_INTEGER, "device", NULL, NULL, 0, 63, "the device that holds the parts named here"},
	{"mesh.place[].stage", KEY_INTEGER, "stage", "0 where the degree is 1", NULL, 0, 63, "its stage"},
	{"mesh.place[].tensor", KEY_INTEGER, "rank", "0 where the degree is 1", NULL, 0, 63, "its tensor shard"},
	{"mesh.place[].experts", KEY_INTEGER, "group", "0 where the degree is 1", NULL, 0, 63, "its expert group"},
	{"mesh.place[].group", KEY_INTEGER, "group", "by order of appearance", NULL, 0, 63,
		"its attention group, where a stage has several"},
	{"mesh.place[].expert_slice", KEY_INTEGER, "rank", "by order of appearance", NULL, 0, 63,
		"its part of each expert, where expert_tensor > 1"},

	{"before", KEY_LIST, NULL, "embed", NULL, 0, 0, "steps before the first layer"},
	{"layer", KEY_LIST, NULL, "see the default chains", NULL, 0, 0, "steps of a layer with experts"},
	{"layer[].task", KEY_WORD, NULL, NULL, NULL, 0, 0, "the kind of task"},
	{"layer[].over", KEY_WORD, NULL, "the kind's own, where it has only one", "tensor|experts", 0, 0,
		"the axis that the step is cut or joins over"},
	{"layer[].how", KEY_WORD, NULL, "must be given to dispatch and combine", "local|all_to_all", 0, 0,
		"the way rows reach their experts"},
	{"dense_layer", KEY_LIST, NULL, "see the default chains", NULL, 0, 0, "steps of a layer with an MLP"},
	{"between_stages", KEY_GROUP, NULL, "send", NULL, 0, 0, "the step from a stage to the next"},
	{"between_stages.task", KEY_WORD, NULL, "\"send\"", NULL, 0, 0, "the kind of task"},
	{"between_stages.before", KEY_WORD, NULL, "nothing", "all_gather", 0, 0,
		"send before the layer's last all_gather: row shards travel, and the next stage gathers"},
	{"after", KEY_LIST, NULL, "head, sample", NULL, 0, 0, "steps after the last layer"},

	{"compute", KEY_WORD, NULL, "bf16 for 16-bit weights where the machine has it, else fp32", COMPUTES, 0, 0,
		"what kernels multiply in (fp16: on GPUs; int8: weights and rows, rounded); sums of floats are in FP32"},
	{"residual", KEY_WORD, NULL, "\"fp32\"", DTYPES, 0, 0,
		"of the residual stream and of what is joined, gathered, combined and sent (see what collectives carry)"},

	{"schedule", KEY_GROUP, NULL, "all defaults", NULL, 0, 0, "how micro-batches are made and ordered"},
	{"schedule.policy", KEY_WORD, NULL, "\"homes\"", POLICIES, 0, 0,
		"StarPU's scheduling policy; homes is Octant's own"},
	{"schedule.slots", KEY_INTEGER, "micro-batches", "4", NULL, 1, 1024, "in flight at the same time"},
	{"schedule.ahead", KEY_INTEGER, "iterations", "2", NULL, 1, 64,
		"submitted before the results of the first are seen"},
	{"schedule.prefill", KEY_GROUP, NULL, "all defaults", NULL, 0, 0, "micro-batches of prompts"},
	{"schedule.prefill.tokens", KEY_INTEGER, "tokens", "4096", NULL, 1, 1048576, "of a prefill chunk"},
	{"schedule.prefill.micro_batches", KEY_INTEGER, "micro-batches", "0", NULL, 0, 64,
		"chunks an iteration; 0: one a stage"},
	{"schedule.decode", KEY_GROUP, NULL, "all defaults", NULL, 0, 0, "micro-batches of decoding sequences"},
	{"schedule.decode.micro_batches", KEY_INTEGER, "micro-batches", "0", NULL, 0, 64,
		"groups that decode by turns; 0: one a stage"},
	{"schedule.interleave", KEY_WORD, NULL, "\"chunked\"", "chunked|mixed|prefill_first", 0, 0,
		"prefill and decode by turns, in one micro-batch, or all prompts first"},
	{"schedule.grain", KEY_WORD, NULL, "\"auto\"", "auto|task|device", 0, 0,
		"what one StarPU task is: a step's task, or all tasks that follow each other on a device; auto: the latter "
		"for micro-batches of few rows on a host"},

	{"limits", KEY_GROUP, NULL, "all defaults", NULL, 0, 0, "what runs at the same time"},
	{"limits.sequences", KEY_INTEGER, "sequences", "128", NULL, 1, 65536, "that run at the same time"},
	{"limits.tokens_per_sequence", KEY_INTEGER, "tokens", "10240", NULL, 1, 16777216,
		"prompt and new tokens; a model's own limit counts too"},

	{"kv", KEY_GROUP, NULL, "all defaults", NULL, 0, 0, "keys and values"},
	{"kv.page_tokens", KEY_INTEGER, "tokens", "16", NULL, 1, 4096, "of a page"},
	{"kv.dtype", KEY_WORD, NULL, "fp32 with compute fp32, else fp16", DTYPES, 0, 0, "of stored keys and values"},
	{"kv.pages", KEY_INTEGER, "pages", "0", NULL, 0, MOST,
		"of a pool (one attention group's share of a layer); 0: as many as the limits need or memory allows"},

	{"require", KEY_GROUP, NULL, "nothing", NULL, 0, 0,
		"what the deployment must reach, judged on the machine named"},
	{"require.ttft_s", KEY_NUMBER, "seconds", "not required", NULL, 0, 1e9, "largest time to first token"},
	{"require.tokens_per_ms_per_device", KEY_NUMBER, "tokens/ms", "not required", NULL, 0, 1e12,
		"least throughput a device, judged for prefill and for decode"},
	{"require.memory_gb_per_device", KEY_NUMBER, "GB (1e9 bytes)", "not required", NULL, 0, 1e9,
		"largest peak of a device's memory"},
	{"require.comm_over_compute", KEY_NUMBER, "share", "not required", NULL, 0, 1e6,
		"largest ratio of seconds in collectives to seconds of compute, a device"},
	{"require.workload", KEY_GROUP, NULL, "none", NULL, 0, 0,
		"for which the requirements are judged when no input is named"},
	{"require.workload.sequences", KEY_INTEGER, "sequences", "limits.sequences", NULL, 1, 16777216, "how many"},
	{"require.workload.prompt_tokens", KEY_SPAN, "tokens", "128", NULL, 1, 16777216,
		"length of each prompt; [a, b]: uniform, seeded"},
	{"require.workload.new_tokens", KEY_INTEGER, "tokens", "128", NULL, 1, 16777216, "generated for each"},
	{"require.workload.seed", KEY_INTEGER, NULL, "1", NULL, 0, 9e18, "of the lengths"},
	{"claims", KEY_GROUP, NULL, "none", NULL, 0, 0,
		"what somebody says of this deployment, which the plan confirms or contradicts; it requires nothing"},
	{"claims.parameters", KEY_NUMBER, "parameters", "no claim", NULL, 0, 1e15, "of the model"},
	{"claims.weights_gb", KEY_NUMBER, "GB (1e9 bytes)", "no claim", NULL, 0, 1e9, "of all weights as stored"},
	{"claims.kv_gb", KEY_NUMBER, "GB (1e9 bytes)", "no claim", NULL, 0, 1e9,
		"of keys and values when `limits` are used up"},
	{"claims.weights_gb_per_device", KEY_NUMBER, "GB (1e9 bytes)", "no claim", NULL, 0, 1e9,
		"of weights on the device that has most"},
	{"claims.kv_gb_per_device", KEY_NUMBER, "GB (1e9 bytes)", "no claim", NULL, 0, 1e9,
		"of the KV pool on the fullest device"},
	{"claims.memory_gb_per_device", KEY_NUMBER, "GB (1e9 bytes)", "no claim", NULL, 0, 1e9,
		"of the fullest device, all together"},
	{"claims.memory_share", KEY_NUMBER, "share", "no claim", NULL, 0, 1, "of the fullest device's memory in use"},
	{"claims.tokens_per_ms_per_device", KEY_NUMBER, "tokens/ms", "no claim", NULL, 0, 1e12,
		"at least; of prefill, the faster phase"},
	{"claims.flops_share", KEY_NUMBER, "share", "no claim", NULL, 0, 1,
		"of the reachable FLOP/s that prefill takes at the required tokens/ms, or as planned where none is required"},
	{"claims.ttft_s", KEY_NUMBER, "seconds", "no claim", NULL, 0, 1e9, "at most: largest time to first token"},
	{"claims.comm_over_compute", KEY_NUMBER, "share", "no claim", NULL, 0, 1e6,
		"at most: seconds in collectives over seconds of compute"},
	{"claims.bandwidth_share", KEY_NUMBER, "share", "no claim", NULL, 0, 1,
		"at most: of the reachable memory bandwidth that decode steps take"},
	{NULL, KEY_GROUP, NULL, NULL, NULL, 0, 0, NULL},
};

static const struct {
	const char *path, *word, *reason;
} refusals[] = {
	{"schedule.policy", "heteroprio",
		"looks only at the first task of a bucket, so that it hangs where homes are worker masks"},
};

enum { PATH_SIZE = 256 };

bool graph_key_allows(const struct graph_key *key, const char *word)
{
	size_t length = strlen(word);
	for (const char *p = key->words; p && length && (p = strstr(p, word)); p += length)
		if ((p == key->words || p[-1] == '|') && (!p[length] || p[length] == '|'))
			return true;
	return !key->words;
}

const char *graph_key_refused(const struct graph_key *key, const char *word)
{
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
		if (!strcmp(refusals[i].path, key->path) && !strcmp(refusals[i].word, word))
			return refusals[i].reason;
	return NULL;
}

/* "before[2].task" → "layer[].task"; false when the path is too long to be one. */
static bool canonical(const char *path, char *to)
{
	static const char *const chains[] = {"before[", "dense_layer[", "after["};
	size_t n = 0;
	for (size_t i = 0; i < sizeof chains / sizeof *chains; i++)
		if (!strncmp(path, chains[i], strlen(chains[i]))) {
			strcpy(to, "layer[");
			n = strlen(to);
			path += strlen(chains[i]);
			while (isdigit((unsigned char) *path))
				path++;
			break;
		}
	for (; *path; path++) {
		if (n + 2 > PATH_SIZE)
			return false;
		to[n++] = *path;
		if (*path == '[')
			while (isdigit((unsigned char) path[1]))
				path++;
	}
	to[n] = '\0';
	return true;
}

const struct graph_key *graph_key_find(const char *path)
{
	char wanted[PATH_SIZE + 8];
	if (!canonical(path, wanted))
		return NULL;
	for (const struct graph_key *key = graph_keys; key->path; key++)
		if (!strcmp(key->path, wanted))
			return key;
	return NULL;
}

const char *graph_key_nearest(const char *parent, const char *name, char *known, size_t size)
{
	char wanted[PATH_SIZE + 8];
	const char *names[64];
	size_t count = 0, used = 0, length;
	if (known)
		*known = '\0';
	if (!canonical(parent, wanted))
		return NULL;
	length = strlen(wanted);
	for (const struct graph_key *key = graph_keys; key->path && count < 63; key++) {
		const char *last = key->path + length + (length != 0);
		if (strncmp(key->path, wanted, length) || (length && key->path[length] != '.') || strpbrk(last, ".["))
			continue;
		names[count++] = last;
		if (known && used < size)
			used += (size_t) snprintf(known + used, size - used, "%s%s", count > 1 ? ", " : "", last);
	}
	names[count] = NULL;
	return error_nearest(name, names);
}

bool graph_key_elsewhere(const char *name, char *text, size_t size)
{
	size_t used = 0;
	for (const struct graph_key *key = graph_keys; key->path; key++) {
		const char *dot = strrchr(key->path, '.');
		if (!strcmp(dot ? dot + 1 : key->path, name) && !strchr(key->path, '[') && used < size)
			used += (size_t) snprintf(text + used, size - used, "%s%s", used ? " or " : "", key->path);
	}
	return used > 0;
}

void graph_key_expects(const struct graph_key *key, char *text, size_t size)
{
	static const char *const types[] = {
		[KEY_GROUP] = "a group { key = value; }",
		[KEY_LIST] = "a list of groups ( { … }, { … } )",
		[KEY_INTEGER] = "an integer",
		[KEY_NUMBER] = "a number",
		[KEY_BOOLEAN] = "true or false",
		[KEY_WORD] = "a string",
		[KEY_INTEGERS] = "an array of integers [ 1, 2 ]",
		[KEY_SPAN] = "an integer or [ least, greatest ]",
	};
	size_t n = (size_t) snprintf(text, size, "%s", types[key->type]);
	if (key->words && n < size) {
		n += (size_t) snprintf(text + n, size - n, ", one of ");
		for (const char *w = key->words; *w && n + 3 < size; w++) {
			if (*w == '|') {
				text[n++] = ',';
				text[n++] = ' ';
			} else {
				text[n++] = *w;
			}
			text[n] = '\0';
		}
	}
	if (key->type >= KEY_INTEGER && key->greatest > 0 && n < size)
		snprintf(text + n, size - n, " from %.15g to %.15g", key->least, key->greatest);
}

void graph_keys_write(FILE *file)
{
	fprintf(file, "| key | type | unit | default | |\n|---|---|---|---|---|\n");
	for (const struct graph_key *key = graph_keys; key->path; key++) {
		char type[256];
		graph_key_expects(key, type, sizeof type);
		fprintf(file, "| `%s` | %s | %s | %s | %s |\n", key->path, type, key->unit ? key->unit : "",
			key->fallback ? key->fallback : "must be given", key->help);
	}
}
