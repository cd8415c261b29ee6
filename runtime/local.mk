# SPDX-License-Identifier: Apache-2.0
#
# libruntime.a: what knows no model. One line a module, headers too, in alphabetical order.
libruntime_a_SOURCES += runtime/checkpoint.c runtime/checkpoint.h
libruntime_a_SOURCES += runtime/checkpoint_names.c runtime/checkpoint_names.h
libruntime_a_SOURCES += runtime/dtype.c runtime/dtype.h
libruntime_a_SOURCES += runtime/batcher.c runtime/batcher.h runtime/batcher_internal.h runtime/batch.h
libruntime_a_SOURCES += runtime/batcher_form.c runtime/batcher_report.c runtime/batcher_seat.c
libruntime_a_SOURCES += runtime/error.c runtime/error.h
libruntime_a_SOURCES += runtime/form.c runtime/form.h
libruntime_a_SOURCES += runtime/json_file.c runtime/json_file.h
libruntime_a_SOURCES += runtime/kv_pages.c runtime/kv_pages.h
libruntime_a_SOURCES += runtime/mesh.c runtime/mesh.h
libruntime_a_SOURCES += runtime/model.c runtime/model.h
libruntime_a_SOURCES += runtime/model_config.c runtime/model_config.h
libruntime_a_SOURCES += runtime/safetensors.c runtime/safetensors.h
libruntime_a_SOURCES += runtime/tensor_view.c runtime/tensor_view.h
libruntime_a_SOURCES += runtime/graph_card.c
libruntime_a_SOURCES += runtime/graph_chain.c
libruntime_a_SOURCES += runtime/graph_check.c
libruntime_a_SOURCES += runtime/graph_default.c
libruntime_a_SOURCES += runtime/graph_machine.c
libruntime_a_SOURCES += runtime/graph_override.c
libruntime_a_SOURCES += runtime/graph_place.c
libruntime_a_SOURCES += runtime/graph_read.c runtime/graph.h runtime/graph_internal.h
libruntime_a_SOURCES += runtime/graph_resolve.c
libruntime_a_SOURCES += runtime/graph_schema.c runtime/graph_schema.h
libruntime_a_SOURCES += runtime/graph_shipped.c
libruntime_a_SOURCES += runtime/graph_source.c runtime/graph_source.h
libruntime_a_SOURCES += runtime/graph_steps.c
libruntime_a_SOURCES += runtime/graph_text.c
libruntime_a_SOURCES += runtime/arena.c runtime/arena.h
libruntime_a_SOURCES += runtime/cost.c runtime/cost.h
libruntime_a_SOURCES += runtime/engine.c runtime/engine.h
libruntime_a_SOURCES += runtime/engine_homes.c runtime/engine_homes.h
