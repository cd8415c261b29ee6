/* SPDX-License-Identifier: Apache-2.0
 *
 * config.json as a model: the families' defaults, both ways of writing what has two, and every refusal with the words
 * that tell a user what to do. */
#include "runtime/model_config.h"
#include "runtime/json_file.h"
#include "tests/scratch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static char folder[SCRATCH_PATH];

static const char *const mixtral =
	"{\"architectures\": [\"MixtralForCausalLM\"], \"model_type\": \"mixtral\", \"hidden_size\": 48,\n"
	" \"num_hidden_layers\": 3, \"num_attention_heads\": 6, \"num_key_value_heads\": 2, \"head_dim\": null,\n"
	" \"intermediate_size\": 56, \"num_local_experts\": 5, \"num_experts_per_tok\": 2, \"vocab_size\": 199,\n"
	" \"max_position_embeddings\": 512, \"rms_norm_eps\": 1e-05, \"rope_theta\": 1000000.0,\n"
	" \"hidden_act\": \"silu\", \"sliding_window\": null, \"tie_word_embeddings\": false,\n"
	" \"torch_dtype\": \"bfloat16\", \"bos_token_id\": 1, \"eos_token_id\": 2}\n";

/* Writes `base` with the keys of `change` over it. */
static void write_config(const char *base, const char *change)
{
	json_t *root = json_loads(base, 0, NULL), *over = json_loads(change, 0, NULL);
	assert_non_null(root);
	assert_non_null(over);
	assert_int_equal(json_object_update(root, over), 0);
	char *text = json_dumps(root, JSON_INDENT(1));
	scratch_text(folder, "config.json", text);
	free(text);
	json_decref(root);
	json_decref(over);
}

static struct model read_config(const char *base, const char *change)
{
	struct model model;
	struct error error = {0};
	write_config(base, change);
	int code = model_config_read(folder, &model, &error);
	if (code)
		fail_msg("%s: %s: %s", change, error.where, error.text);
	return model;
}

static void sizes_are_read(void **state)
{
	(void) state;
	struct model m = read_config(mixtral, "{}");
	assert_int_equal(m.family, MODEL_MIXTRAL);
	assert_int_equal(m.layers, 3);
	assert_int_equal(m.hidden, 48);
	assert_int_equal(m.heads, 6);
	assert_int_equal(m.kv_heads, 2);
	assert_int_equal(m.head_dim, 8);
	assert_int_equal(m.vocab, 199);
	assert_int_equal(m.max_positions, 512);
	assert_int_equal(m.experts, 5);
	assert_int_equal(m.top_k, 2);
	assert_int_equal(m.expert_hidden, 56);
	assert_int_equal(m.mlp_hidden, 0);
	assert_int_equal(m.shared_hidden, 0);
	assert_true(m.normalize_top_k);
	assert_false(m.qkv_bias || m.output_bias || m.mlp_bias || m.tied_embeddings || m.dense[0]);
	assert_int_equal(m.qk_norm, QK_NORM_NONE);
	assert_int_equal(m.dtype, DTYPE_BF16);
	assert_float_equal(m.rope.theta, 1e6, 0);
	assert_int_equal(m.rope.type, ROPE_DEFAULT);
	assert_float_equal(m.norm_epsilon, 1e-5f, 0);
	assert_int_equal(m.bos, 1);
	assert_int_equal(m.eos_count, 1);
	assert_int_equal(m.eos[0], 2);
	assert_string_equal(m.name, strrchr(folder, '/') + 1);
}

/* Only model_type: what transformers makes of it (its configuration_*.py). */
static void families_have_their_defaults(void **state)
{
	(void) state;
	struct model m = read_config("{\"model_type\": \"mixtral\"}", "{}");
	assert_int_equal(m.kv_heads, 8);
	assert_int_equal(m.head_dim, 128);
	assert_int_equal(m.experts, 8);
	assert_float_equal(m.rope.theta, 1e6, 0);
	m = read_config("{\"model_type\": \"olmoe\"}", "{}");
	assert_int_equal(m.kv_heads, 16);
	assert_int_equal(m.experts, 64);
	assert_int_equal(m.top_k, 8);
	assert_int_equal(m.expert_hidden, 2048);
	assert_int_equal(m.qk_norm, QK_NORM_ALL);
	assert_int_equal(m.eos[0], 50279);
	assert_int_equal(m.bos, -1);
	assert_false(m.normalize_top_k);
	assert_float_equal(m.rope.theta, 1e4, 0);
	m = read_config("{\"model_type\": \"qwen2_moe\"}", "{}");
	assert_true(m.qkv_bias);
	assert_false(m.output_bias);
	assert_int_equal(m.experts, 60);
	assert_int_equal(m.expert_hidden, 1408);
	assert_int_equal(m.shared_hidden, 5632);
	assert_int_equal(m.mlp_hidden, 0);
	assert_int_equal(m.eos_count, 0);
	m = read_config("{\"model_type\": \"qwen3_moe\"}", "{}");
	assert_int_equal(m.qk_norm, QK_NORM_HEAD);
	assert_int_equal(m.head_dim, 64);
	assert_int_equal(m.kv_heads, 4);
	assert_int_equal(m.shared_hidden, 0);
	assert_false(m.qkv_bias);
	m = read_config("{\"model_type\": \"llama\"}", "{}");
	assert_int_equal(m.experts, 0);
	assert_int_equal(m.kv_heads, 32);
	assert_int_equal(m.mlp_hidden, 11008);
	assert_int_equal(m.max_positions, 2048);
	assert_true(m.dense[0] && m.dense[31]);
	assert_float_equal(m.norm_epsilon, 1e-6f, 0);
	m = read_config("{\"model_type\": \"qwen2\"}", "{}");
	assert_true(m.qkv_bias);
	assert_false(m.output_bias);
	assert_int_equal(m.qk_norm, QK_NORM_NONE);
	m = read_config("{\"model_type\": \"qwen3\"}", "{}");
	assert_int_equal(m.head_dim, 128);
	assert_int_equal(m.qk_norm, QK_NORM_HEAD);
	m = read_config("{\"architectures\": [\"Qwen3ForCausalLM\"]}", "{}");
	assert_int_equal(m.family, MODEL_QWEN3);
}

static void options_are_read(void **state)
{
	(void) state;
	struct model m = read_config("{\"model_type\": \"llama\"}",
		"{\"attention_bias\": true, \"mlp_bias\": true, \"tie_word_embeddings\": true, \"head_dim\": 64}");
	assert_true(m.qkv_bias && m.output_bias && m.mlp_bias && m.tied_embeddings);
	assert_int_equal(m.head_dim, 64);
	m = read_config("{\"model_type\": \"olmoe\"}", "{\"clip_qkv\": 8, \"norm_topk_prob\": true}");
	assert_float_equal(m.clip_qkv, 8, 0);
	assert_true(m.normalize_top_k);
	m = read_config("{\"model_type\": \"olmoe\"}", "{\"clip_qkv\": null}");
	assert_float_equal(m.clip_qkv, 0, 0);
	m = read_config("{\"model_type\": \"qwen3\"}", "{\"attention_bias\": true}");
	assert_true(m.qkv_bias && m.output_bias);
	m = read_config("{\"model_type\": \"qwen2\"}", "{\"attention_bias\": true}"); /* no key of this family */
	assert_true(m.qkv_bias && !m.output_bias);
	m = read_config("{\"model_type\": \"qwen2_moe\"}", "{\"qkv_bias\": false, \"shared_expert_intermediate_size\": 0}");
	assert_false(m.qkv_bias || m.shared_hidden);
	m = read_config(mixtral, "{\"num_key_value_heads\": null, \"hidden_act\": \"swish\", \"torch_dtype\": null}");
	assert_int_equal(m.kv_heads, 6);
	assert_int_equal(m.dtype, DTYPE_FP32);
	m = read_config(mixtral, "{\"dtype\": \"float16\"}"); /* the newer key counts */
	assert_int_equal(m.dtype, DTYPE_FP16);
}

static void experts_have_two_names(void **state)
{
	(void) state;
	struct model m = read_config("{\"model_type\": \"qwen3_moe\"}", "{\"num_local_experts\": 16}");
	assert_int_equal(m.experts, 16);
	m = read_config("{\"model_type\": \"mixtral\"}", "{\"num_experts\": 4}");
	assert_int_equal(m.experts, 4);
	m = read_config("{\"model_type\": \"mixtral\"}", "{\"num_experts\": 4, \"num_local_experts\": 4}");
	assert_int_equal(m.experts, 4);
}

static void dense_layers_are_found(void **state)
{
	(void) state;
	const char *qwen = "{\"model_type\": \"qwen2_moe\", \"num_hidden_layers\": 6, \"intermediate_size\": 100}";
	struct model m = read_config(qwen, "{\"decoder_sparse_step\": 2, \"mlp_only_layers\": [3, 900]}");
	const bool dense[] = { true, false, true, true, true, false };
	for (int l = 0; l < 6; l++)
		assert_int_equal(m.dense[l], dense[l]);
	assert_int_equal(m.mlp_hidden, 100);
	assert_int_equal(m.experts, 60);
	m = read_config(qwen, "{\"mlp_only_layers\": [0, 1, 2, 3, 4, 5]}");
	assert_int_equal(m.experts, 0);
	assert_int_equal(m.top_k, 0);
	assert_int_equal(m.mlp_hidden, 100);
	m = read_config(qwen, "{\"num_experts\": 0}");
	assert_int_equal(m.experts, 0);
	assert_true(m.dense[5]);
	m = read_config(qwen, "{\"mlp_only_layers\": null}");
	assert_int_equal(m.mlp_hidden, 0);
}

static void rope_is_written_in_two_ways(void **state)
{
	(void) state;
	const char *llama = "{\"model_type\": \"llama\"}";
	struct model m = read_config(llama, "{\"rope_theta\": 500000, \"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, "
		"\"low_freq_factor\": 1, \"high_freq_factor\": 4, \"original_max_position_embeddings\": 256}}");
	assert_int_equal(m.rope.type, ROPE_LLAMA3);
	assert_float_equal(m.rope.theta, 5e5, 0);
	assert_float_equal(m.rope.factor, 8, 0);
	assert_float_equal(m.rope.low_frequency_factor, 1, 0);
	assert_float_equal(m.rope.high_frequency_factor, 4, 0);
	assert_float_equal(m.rope.original_positions, 256, 0);
	m = read_config(llama, "{\"rope_parameters\": {\"rope_type\": \"llama3\", \"rope_theta\": 7e4, \"factor\": 2.5, "
		"\"low_freq_factor\": 1.5, \"high_freq_factor\": 3}}");
	assert_int_equal(m.rope.type, ROPE_LLAMA3);
	assert_float_equal(m.rope.theta, 7e4, 0);
	assert_float_equal(m.rope.original_positions, 2048, 0);
	m = read_config(llama, "{\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 123}, \"rope_theta\": 5}");
	assert_int_equal(m.rope.type, ROPE_DEFAULT);
	assert_float_equal(m.rope.theta, 123, 0);
	m = read_config(llama, "{\"rope_parameters\": null, \"rope_scaling\": {}}");
	assert_float_equal(m.rope.theta, 1e4, 0);
	m = read_config(llama, "{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 1.0}}"); /* scales nothing */
	assert_int_equal(m.rope.type, ROPE_DEFAULT);
}

static void windows_without_effect_are_let_through(void **state)
{
	(void) state;
	read_config(mixtral, "{\"sliding_window\": 512}");
	read_config(mixtral, "{\"sliding_window\": 4096}");
	read_config("{\"model_type\": \"qwen2\"}", "{\"sliding_window\": 64, \"use_sliding_window\": false}");
	read_config("{\"model_type\": \"qwen2\"}",
		"{\"sliding_window\": 64, \"use_sliding_window\": true, \"max_window_layers\": 32}");
	read_config("{\"model_type\": \"qwen2_moe\"}", "{\"sliding_window\": 0, \"use_sliding_window\": false}");
	read_config("{\"model_type\": \"qwen3_moe\"}", "{\"sliding_window\": null, \"use_sliding_window\": true}");
	read_config("{\"model_type\": \"llama\"}", "{\"attention_dropout\": 0.5, \"pretraining_tp\": 2}");
}

static void generation_config_names_the_ends(void **state)
{
	(void) state;
	scratch_text(folder, "generation_config.json", "{\"eos_token_id\": [7, 9, 11]}");
	struct model m = read_config(mixtral, "{}");
	assert_int_equal(m.eos_count, 3);
	assert_int_equal(m.eos[2], 11);
	scratch_text(folder, "generation_config.json", "{\"eos_token_id\": 5}");
	m = read_config(mixtral, "{}");
	assert_int_equal(m.eos_count, 1);
	assert_int_equal(m.eos[0], 5);
	scratch_text(folder, "generation_config.json", "{\"do_sample\": true}");
	m = read_config(mixtral, "{\"eos_token_id\": [3, 4]}");
	assert_int_equal(m.eos_count, 2);
	assert_int_equal(m.eos[1], 4);
	scratch_text(folder, "generation_config.json", "{\"eos_token_id\": 5,\n \"a\"}");
	struct error error = {0};
	assert_int_equal(model_config_read(folder, &m, &error), ERROR_INPUT);
	assert_non_null(strstr(error.where, "generation_config.json:2"));
	unlink(scratch_path(folder, "generation_config.json"));
	m = read_config(mixtral, "{\"eos_token_id\": null}");
	assert_int_equal(m.eos_count, 0);
}

/* Each change makes the mixtral configuration, or the family's own defaults, one that must be refused. */
static const struct {
	const char *base, *change, *words, *more; /* both must be in the message */
} refused[] = {
	{ NULL, "{\"model_type\": \"mistral\"}", "\"mistral\" is not supported", "mixtral, olmoe, qwen2_moe" },
	{ NULL, "{\"model_type\": \"qwen3moe\"}", "nearest: qwen3_moe", "model_type" },
	{ NULL, "{\"architectures\": [\"MixtralForSequenceClassification\"]}", "architectures", "MixtralForCausalLM" },
	{ NULL, "{\"architectures\": [\"LlamaForCausalLM\"]}", "architectures", "not supported" },
	{ NULL, "{\"architectures\": [3]}", "architectures", "list of strings" },
	{ NULL, "{\"model_type\": null, \"architectures\": null}", "neither model_type nor architectures", "family" },
	{ NULL, "{\"model_type\": 7}", "model_type is an integer", "must be a string" },
	{ NULL, "{\"hidden_size\": 0}", "hidden_size is 0", "from 1" },
	{ NULL, "{\"hidden_size\": -48}", "hidden_size is -48", "from 1" },
	{ NULL, "{\"hidden_size\": 48.0}", "hidden_size is a number with a fraction", "an integer" },
	{ NULL, "{\"hidden_size\": \"48\"}", "hidden_size is a string", "an integer" },
	{ NULL, "{\"hidden_size\": 4294967344}", "hidden_size is 4294967344", "from 1" },
	{ NULL, "{\"hidden_size\": 2000000000, \"head_dim\": 8}", "hidden size is 2000000000", "to 1048576" },
	{ NULL, "{\"hidden_size\": 50}", "hidden_size 50 is not a multiple", "head_dim must be given" },
	{ NULL, "{\"num_hidden_layers\": 1025}", "num_hidden_layers is 1025", "to 1024" },
	{ NULL, "{\"num_hidden_layers\": true}", "num_hidden_layers is true or false", "an integer" },
	{ NULL, "{\"num_attention_heads\": 0}", "num_attention_heads is 0", "from 1" },
	{ NULL, "{\"num_key_value_heads\": 4}", "6 heads do not divide among 4 KV heads", "same number" },
	{ NULL, "{\"num_key_value_heads\": 12}", "6 heads do not divide among 12", "KV heads" },
	{ NULL, "{\"head_dim\": 7}", "head_dim is 7", "even" },
	{ NULL, "{\"head_dim\": 9000}", "head_dim is 9000", "to 4096" },
	{ NULL, "{\"vocab_size\": 0}", "vocab_size is 0", "from 1" },
	{ NULL, "{\"max_position_embeddings\": 0}", "max_position_embeddings is 0", "from 1" },
	{ NULL, "{\"rms_norm_eps\": \"small\"}", "rms_norm_eps is a string", "a number" },
	{ NULL, "{\"rms_norm_eps\": -1}", "rms_norm_eps is -1", "from 0" },
	{ NULL, "{\"num_local_experts\": 0}", "number of experts is 0", "at least 1" },
	{ NULL, "{\"num_local_experts\": 5000}", "number of experts is 5000", "to 1024" },
	{ NULL, "{\"num_experts\": 6}", "num_experts is 6 and num_local_experts 5", "the same" },
	{ NULL, "{\"num_experts_per_tok\": 6}", "experts a token goes to is 6", "to 5" },
	{ NULL, "{\"num_experts_per_tok\": 0}", "num_experts_per_tok is 0", "from 1" },
	{ NULL, "{\"hidden_act\": \"gelu\"}", "activation \"gelu\" is not supported", "silu" },
	{ NULL, "{\"hidden_act\": 3}", "hidden_act is an integer", "a string" },
	{ NULL, "{\"sliding_window\": 511}", "sliding window of 511", "max_position_embeddings (512)" },
	{ NULL, "{\"quantization_config\": {\"quant_method\": \"gptq\"}}", "quantization_config (gptq)", "quantised" },
	{ NULL, "{\"quantization_config\": {}}", "quantization_config", "quantised" },
	{ NULL, "{\"compression_config\": {\"format\": \"pack\"}}", "compression_config", "quantised" },
	{ NULL, "{\"partial_rotary_factor\": 0.5}", "partial_rotary_factor 0.5 is not supported", "whole head" },
	{ NULL, "{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}}", "rope of type \"yarn\" is not supported", "llama3" },
	{ NULL, "{\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}}", "\"linear\" is not supported", "default" },
	{ NULL, "{\"rope_scaling\": {\"factor\": 2}}", "rope_scaling has a factor", "no rope_type" },
	{ NULL, "{\"rope_parameters\": {\"rope_type\": \"dynamic\"}}", "\"dynamic\" is not supported", "llama3" },
	{ NULL, "{\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}}}", "by layer type", "one rope" },
	{ NULL, "{\"rope_parameters\": {\"partial_rotary_factor\": 0.25}}", "partial_rotary_factor 0.25", "whole head" },
	{ NULL, "{\"rope_scaling\": \"yarn\"}", "rope_scaling is a string", "an object" },
	{ NULL, "{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"high_freq_factor\": 4}}", "needs low_freq_factor",
		"above 0" },
	{ NULL, "{\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8, \"high_freq_factor\": 1, \"low_freq_factor\": 1}}",
		"high_freq_factor 1 must be above", "low_freq_factor" },
	{ NULL, "{\"rope_theta\": 0}", "rope_theta is 0", "must be from" },
	{ NULL, "{\"rope_theta\": [1]}", "rope_theta is a list", "a number" },
	{ NULL, "{\"torch_dtype\": \"float64\"}", "torch_dtype \"float64\" is not supported", "bfloat16" },
	{ NULL, "{\"torch_dtype\": \"float8_e4m3fn\"}", "float8_e4m3fn", "not supported" },
	{ NULL, "{\"eos_token_id\": -2}", "eos_token_id must be", "from 0" },
	{ NULL, "{\"eos_token_id\": [1, \"x\"]}", "eos_token_id must be", "list" },
	{ NULL, "{\"eos_token_id\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "lists 17", "at most 16" },
	{ NULL, "{\"tie_word_embeddings\": 1}", "tie_word_embeddings is an integer", "true or false" },
	{ NULL, "{\"layer_types\": [\"sliding_attention\"]}", "layer_types has \"sliding_attention\"", "full_attention" },
	{ "{\"model_type\": \"qwen2\"}", "{\"use_sliding_window\": true}", "sliding window of 4096", "not supported" },
	{ "{\"model_type\": \"qwen3_moe\"}", "{\"use_sliding_window\": true}", "sliding window of 4096", "not supported" },
	{ "{\"model_type\": \"qwen2_moe\"}", "{\"use_sliding_window\": true, \"max_window_layers\": 1}", "sliding window",
		"not supported" },
	{ "{\"model_type\": \"qwen2_moe\"}", "{\"decoder_sparse_step\": 0}", "decoder_sparse_step is 0", "from 1" },
	{ "{\"model_type\": \"qwen2_moe\"}", "{\"mlp_only_layers\": [-1]}", "mlp_only_layers", "from 0" },
	{ "{\"model_type\": \"qwen2_moe\"}", "{\"mlp_only_layers\": 3}", "mlp_only_layers is an integer", "a list" },
	{ "{\"model_type\": \"olmoe\"}", "{\"clip_qkv\": -1}", "clip_qkv is -1", "must be from" },
	{ "{\"model_type\": \"olmoe\"}", "{\"head_dim\": 64}", "16 heads of 64", "query norm" },
	{ "{\"model_type\": \"llama\"}", "{\"intermediate_size\": 0}", "intermediate_size is 0", "from 1" },
	{ "{\"model_type\": \"llama\"}", "{\"mlp_bias\": \"no\"}", "mlp_bias is a string", "true or false" },
};

static void unsupported_is_refused(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		struct error error = {0};
		struct model model, before;
		memset(&model, 0x5a, sizeof model);
		before = model;
		write_config(refused[i].base ? refused[i].base : mixtral, refused[i].change);
		int code = model_config_read(folder, &model, &error);
		if (code != ERROR_INPUT || !strstr(error.text, refused[i].words) || !strstr(error.text, refused[i].more) ||
			!strstr(error.where, "config.json"))
			fail_msg("%s: code %d, %s: %s", refused[i].change, code, error.where, error.text);
		assert_memory_equal(&model, &before, sizeof model); /* outputs are set on success only */
	}
}

static void refuse_text(const char *text, const char *where, const char *words)
{
	struct error error = {0};
	struct model model;
	scratch_text(folder, "config.json", text);
	int code = model_config_read(folder, &model, &error);
	if (code != ERROR_INPUT || !strstr(error.where, where) || !strstr(error.text, words))
		fail_msg("%s: code %d, %s: %s", text, code, error.where, error.text);
}

static void broken_json_has_a_line(void **state)
{
	(void) state;
	refuse_text("{\n\"model_type\": \"llama\",\n\"hidden_size\" 4\n}", "config.json:3", "not valid JSON");
	refuse_text("{\n\"model_type\": \"llama\"", "config.json:2", "not valid JSON");
	refuse_text("", "config.json:1", "not valid JSON");
	refuse_text("[1]", "config.json:1", "not a JSON object");
	refuse_text("7", "config.json:1", "not a JSON object");
	refuse_text("{\"hidden_size\": 1,\n \"hidden_size\": 2}", "config.json:2", "duplicate");
	refuse_text("{\n\"hidden_size\": 99999999999999999999999}", "config.json:2", "too big integer");
	refuse_text("{\n\"rms_norm_eps\": 1e999}", "config.json:2", "real number overflow");
	refuse_text("{\n\"rms_norm_eps\": NaN}", "config.json:2", "not valid JSON");
	refuse_text("{\"model_type\": \"ll\xff\"}", "config.json:1", "unable to decode byte 0xff");
	refuse_text("{} x", "config.json:1", "not valid JSON");
	/* a value's error has its line too */
	refuse_text("{\n\"model_type\":\n\"llama\",\n\n\"hidden_act\" : \"relu\"}", "config.json:5", "relu");

	char deep[5000];
	memset(deep, '[', sizeof deep - 1);
	deep[sizeof deep - 1] = 0;
	refuse_text(deep, "config.json:1", "not valid JSON");
}

static void missing_files_are_named(void **state)
{
	(void) state;
	struct error error = {0};
	struct model model;
	unlink(scratch_path(folder, "config.json"));
	assert_int_equal(model_config_read(folder, &model, &error), ERROR_INPUT);
	assert_non_null(strstr(error.where, "config.json"));
	assert_non_null(strstr(error.text, "No such file"));
	error = (struct error){0};
	mkdir(scratch_path(folder, "config.json"), 0700);
	assert_int_equal(model_config_read(folder, &model, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "not a regular file"));
	rmdir(scratch_path(folder, "config.json"));
	error = (struct error){0};
	assert_int_equal(mkfifo(scratch_path(folder, "config.json"), 0600), 0); /* must not wait for a writer */
	assert_int_equal(model_config_read(folder, &model, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "not a regular file"));
	unlink(scratch_path(folder, "config.json"));
	error = (struct error){0};
	char *much = malloc((16u << 20) + 1);
	memset(much, ' ', (16u << 20) + 1);
	scratch_write(folder, "config.json", much, (16u << 20) + 1);
	free(much);
	assert_int_equal(model_config_read(folder, &model, &error), ERROR_INPUT);
	assert_non_null(strstr(error.text, "at most 16777216 are read"));
}

static void parameters_are_counted(void **state)
{
	(void) state;
	struct model_parameters p;
	struct model m = read_config("{\"model_type\": \"mixtral\"}",
		"{\"num_hidden_layers\": 16, \"hidden_size\": 512, \"num_attention_heads\": 16, \"num_key_value_heads\": 16, "
		"\"intermediate_size\": 1024, \"num_local_experts\": 16, \"vocab_size\": 32000}");
	model_count_parameters(&m, &p);
	assert_float_equal(p.attention / 16, 4 * 512 * 512, 0);
	assert_float_equal(p.experts / 16, 16 * 3 * 512 * 1024, 0);
	assert_float_equal(p.router / 16, 16 * 512, 0);
	assert_float_equal(p.embedding, 32000 * 512, 0);
	assert_float_equal(p.head, 32000 * 512, 0);
	assert_float_equal(p.norms, 33 * 512, 0);
	assert_float_equal(p.total, p.attention + p.experts + p.router + p.norms + 2 * p.embedding, 0);
	assert_float_equal(p.active, p.attention + p.experts / 8 + p.router + p.norms + p.head, 0);
	m = read_config("{\"model_type\": \"qwen2\"}",
		"{\"num_hidden_layers\": 2, \"hidden_size\": 8, \"num_attention_heads\": 2, \"num_key_value_heads\": 1, "
		"\"intermediate_size\": 10, \"vocab_size\": 20, \"tie_word_embeddings\": true}");
	model_count_parameters(&m, &p);
	assert_float_equal(p.attention, 2 * (8 * 8 + 8 + 2 * (8 * 4 + 4) + 8 * 8), 0);
	assert_float_equal(p.mlp, 2 * 3 * 8 * 10, 0);
	assert_float_equal(p.head, 0, 0);
	assert_float_equal(p.total, p.attention + p.mlp + 5 * 8 + 160, 0);
}

/* Whatever bytes come: an error or a model that holds, never a crash (sanitizers watch). */
static void damaged_files_are_survived(void **state)
{
	(void) state;
	const char *bases[] = { mixtral,
		"{\"model_type\": \"qwen2_moe\", \"decoder_sparse_step\": 2, \"mlp_only_layers\": [1], \"layer_types\": "
		"[\"full_attention\"], \"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 2, \"low_freq_factor\": 1, "
		"\"high_freq_factor\": 4}, \"eos_token_id\": [1, 2]}" };
	static const char *const pieces[] = { "null", "-1", "0", "1e308", "\"\"", "{}", "[]", "true", "2147483648",
		"9223372036854775807", "1.5" };
	unsigned long long seed = 20240607;
	int good = 0, bad = 0;
	for (int round = 0; round < 4000; round++) {
		char text[2048];
		size_t size = strlen(strcpy(text, bases[round % 2]));
		int edits = 1 + (int) (scratch_random(&seed) % 3);
		for (int e = 0; e < edits; e++) {
			size_t at = scratch_random(&seed) % size, kind = scratch_random(&seed) % 4;
			if (kind == 0) {
				text[at] = (char) scratch_random(&seed);
			} else if (kind == 1) { /* a value becomes another */
				char *colon = strchr(text + at, ':'), *stop = colon ? strpbrk(colon, ",}\n") : NULL;
				const char *piece = pieces[scratch_random(&seed) % (sizeof pieces / sizeof *pieces)];
				if (!stop || size + strlen(piece) + 2 >= sizeof text)
					continue;
				memmove(colon + 1 + strlen(piece), stop, strlen(stop) + 1);
				memcpy(colon + 1, piece, strlen(piece));
			} else if (kind == 2) {
				memmove(text + at, text + at + 1, size - at);
			} else {
				text[at] = 0;
			}
			size = strlen(text);
			if (!size)
				break;
		}
		struct error error = {0};
		struct model model;
		scratch_text(folder, "config.json", text);
		int code = model_config_read(folder, &model, &error);
		if (code) {
			bad++;
			assert_int_equal(code, ERROR_INPUT);
			assert_true(error.text[0] && error.where[0]);
		} else {
			good++;
			assert_int_equal(model_validate(&model, "again", NULL), 0);
		}
	}
	assert_true(good > 100 && bad > 100);
}

static int make(void **state)
{
	(void) state;
	scratch_make(folder);
	return 0;
}

static int clear(void **state)
{
	(void) state;
	scratch_remove(folder);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_read),
		cmocka_unit_test(families_have_their_defaults),
		cmocka_unit_test(options_are_read),
		cmocka_unit_test(experts_have_two_names),
		cmocka_unit_test(dense_layers_are_found),
		cmocka_unit_test(rope_is_written_in_two_ways),
		cmocka_unit_test(windows_without_effect_are_let_through),
		cmocka_unit_test(generation_config_names_the_ends),
		cmocka_unit_test(unsupported_is_refused),
		cmocka_unit_test(broken_json_has_a_line),
		cmocka_unit_test(missing_files_are_named),
		cmocka_unit_test(parameters_are_counted),
		cmocka_unit_test(damaged_files_are_survived),
	};
	return cmocka_run_group_tests_name("model_config", tests, make, clear);
}
