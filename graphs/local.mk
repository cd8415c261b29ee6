# SPDX-License-Identifier: Apache-2.0
#
# The graph descriptions that ship, with the machines they include. What is listed here is in the tarball and is
# installed under $(pkgdatadir)/graphs. One line a file, in alphabetical order:
# nobase_dist_pkgdata_DATA += graphs/NAME.cfg
nobase_dist_pkgdata_DATA += graphs/dense.cfg
nobase_dist_pkgdata_DATA += graphs/expert_tensor.cfg
nobase_dist_pkgdata_DATA += graphs/experts_only.cfg
nobase_dist_pkgdata_DATA += graphs/machines/a100-80g-8.cfg
nobase_dist_pkgdata_DATA += graphs/machines/b200-8.cfg
nobase_dist_pkgdata_DATA += graphs/machines/h100-2x4-infiniband.cfg
nobase_dist_pkgdata_DATA += graphs/machines/h100-sxm-4.cfg
nobase_dist_pkgdata_DATA += graphs/machines/h100-sxm-8.cfg
nobase_dist_pkgdata_DATA += graphs/machines/h200-8.cfg
nobase_dist_pkgdata_DATA += graphs/machines/host.cfg
nobase_dist_pkgdata_DATA += graphs/machines/l40s-4.cfg
nobase_dist_pkgdata_DATA += graphs/machines/plan-4x64g-direct.cfg
nobase_dist_pkgdata_DATA += graphs/machines/plan-4x64g-nvlink.cfg
nobase_dist_pkgdata_DATA += graphs/machines/plan-4x64g.cfg
nobase_dist_pkgdata_DATA += graphs/one_device.cfg
nobase_dist_pkgdata_DATA += graphs/plan/claims.cfg
nobase_dist_pkgdata_DATA += graphs/plan/model.cfg
nobase_dist_pkgdata_DATA += graphs/plan/require.cfg
nobase_dist_pkgdata_DATA += graphs/plan_best.cfg
nobase_dist_pkgdata_DATA += graphs/send_shards.cfg
nobase_dist_pkgdata_DATA += graphs/stages_only.cfg
nobase_dist_pkgdata_DATA += graphs/tensor_only.cfg
nobase_dist_pkgdata_DATA += graphs/tp2_ep2_all_reduce.cfg
nobase_dist_pkgdata_DATA += graphs/tp2_ep2_local.cfg
nobase_dist_pkgdata_DATA += graphs/tp2_ep2_pp2.cfg
nobase_dist_pkgdata_DATA += graphs/tp2_ep2_pp4.cfg
nobase_dist_pkgdata_DATA += graphs/tp2_ep2_reduce_scatter.cfg
nobase_dist_pkgdata_DATA += graphs/tp4.cfg
nobase_dist_pkgdata_DATA += graphs/uneven_layers.cfg
nobase_dist_pkgdata_DATA += graphs/README.md
nobase_dist_pkgdata_DATA += graphs/quickstart/README.md
nobase_dist_pkgdata_DATA += graphs/quickstart/answers.jsonl
nobase_dist_pkgdata_DATA += graphs/quickstart/heldout.jsonl
nobase_dist_pkgdata_DATA += graphs/quickstart/heldout_answers.jsonl
nobase_dist_pkgdata_DATA += graphs/quickstart/model/config.json
nobase_dist_pkgdata_DATA += graphs/quickstart/model/generation_config.json
nobase_dist_pkgdata_DATA += graphs/quickstart/model/model.safetensors
nobase_dist_pkgdata_DATA += graphs/quickstart/model/tokenizer.json
nobase_dist_pkgdata_DATA += graphs/quickstart/model/tokenizer_config.json
nobase_dist_pkgdata_DATA += graphs/quickstart/prompts.jsonl
EXTRA_DIST += graphs/quickstart/train.py
