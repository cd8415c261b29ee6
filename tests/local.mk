# SPDX-License-Identifier: Apache-2.0
#
# `make check`: one cmocka program a module, and scripts. A program of one file needs one line:
#   check_PROGRAMS += tests/test_NAME
# a program of several files also `tests_test_NAME_SOURCES = tests/test_NAME.c tests/HELPER.c`; a script:
#   dist_check_SCRIPTS += tests/NAME.sh
# Each prints TAP (one cmocka group a program, since a TAP stream has one plan) and exits 77 where the machine
# lacks what it needs. They read data below OCTANT_TEST_DATA (the tests folder of the sources, which may be
# read-only) and write only into the folder that TMPDIR names: tests/run makes one for each and removes it.
# Scripts find the program as $OCTANT and the sources as $OCTANT_SOURCE_DIR. Data files:
#   EXTRA_DIST += tests/golden/NAME (a whole folder may be named)

check_PROGRAMS += tests/test_batcher
tests_test_batcher_SOURCES = tests/test_batcher.c tests/batcher_scene.c tests/batcher_scene.h \
	tests/fake_executor.c tests/fake_executor.h
check_PROGRAMS += tests/test_bench
tests_test_bench_SOURCES = tests/test_bench.c tools/bench.c
check_PROGRAMS += tests/test_calibrate
tests_test_calibrate_SOURCES = tests/test_calibrate.c tests/scratch.h tools/calibrate_card.c \
	tools/calibrate_record.c
check_PROGRAMS += tests/test_checkpoint
check_PROGRAMS += tests/test_cost
check_PROGRAMS += tests/test_error
check_PROGRAMS += tests/test_metrics
check_PROGRAMS += tests/test_output
check_PROGRAMS += tests/test_plan
check_PROGRAMS += tests/test_packed_cache
check_PROGRAMS += tests/test_request
check_PROGRAMS += tests/test_tokenizer
check_PROGRAMS += tests/test_golden
tests_test_golden_SOURCES = tests/test_golden.c tests/golden_cases.h tests/model_run.c tests/model_run.h
check_PROGRAMS += tests/test_bits
tests_test_bits_SOURCES = tests/test_bits.c tests/golden_cases.h tests/model_run.c tests/model_run.h
tests_test_bits_SOURCES += tests/pairs.c tests/pairs.h
check_PROGRAMS += tests/test_engine
check_PROGRAMS += tests/test_grain
check_PROGRAMS += tests/test_homes
check_PROGRAMS += tests/test_guard
tests_test_guard_SOURCES = tests/test_guard.c tests/golden_cases.h tests/model_run.c tests/model_run.h
check_PROGRAMS += tests/test_order
tests_test_order_SOURCES = tests/test_order.c tests/golden_cases.h tests/model_run.c tests/model_run.h
check_PROGRAMS += tests/test_half
tests_test_half_SOURCES = tests/test_half.c tests/model_run.c tests/model_run.h
check_PROGRAMS += tests/test_kv_pages
check_PROGRAMS += tests/test_model_config
check_PROGRAMS += tests/test_safetensors
check_PROGRAMS += tests/test_topology
check_PROGRAMS += tests/test_touch
check_PROGRAMS += tests/test_weights_cache
check_PROGRAMS += tests/test_gemm
tests_test_gemm_SOURCES = tests/test_gemm.c tests/kernels.h
check_PROGRAMS += tests/test_gemm_int8
tests_test_gemm_int8_SOURCES = tests/test_gemm_int8.c tests/kernels.h
check_PROGRAMS += tests/test_kernels_attention
tests_test_kernels_attention_SOURCES = tests/test_kernels_attention.c tests/kernels.h
check_PROGRAMS += tests/test_kernels_experts
tests_test_kernels_experts_SOURCES = tests/test_kernels_experts.c tests/kernels.h
check_PROGRAMS += tests/test_kernels_rows
tests_test_kernels_rows_SOURCES = tests/test_kernels_rows.c tests/kernels.h
check_PROGRAMS += tests/test_kernels_sample
check_PROGRAMS += tests/test_trace_file
tests_test_kernels_sample_SOURCES = tests/test_kernels_sample.c tests/kernels.h
check_PROGRAMS += tests/test_draw
tests_test_draw_SOURCES = tests/test_draw.c tools/draw.c tools/draw_svg.c tools/lowered.c
check_PROGRAMS += tests/test_graph
tests_test_graph_SOURCES = tests/test_graph.c tools/model_card.c
check_PROGRAMS += tests/test_graph_errors
check_PROGRAMS += tests/test_mesh
if SIMULATION
check_PROGRAMS += tests/test_simulate
tests_test_simulate_SOURCES = tests/test_simulate.c
tests_test_simulate_LDADD = $(OCTANT_SIM_LIBS) $(CMOCKA_LIBS)
endif

tests_cppflags = -DOCTANT_TEST_DATA='"$(abs_top_srcdir)/tests"'
AM_CPPFLAGS += $(tests_cppflags)
LDADD = $(OCTANT_LIBS) $(CMOCKA_LIBS)

TESTS = $(check_PROGRAMS) $(dist_check_SCRIPTS)
TEST_EXTENSIONS = .sh
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/run
SH_LOG_DRIVER = $(LOG_DRIVER)
SH_LOG_COMPILER = $(LOG_COMPILER) $(SHELL)
AM_TESTS_ENVIRONMENT = \
	OCTANT='$(abs_top_builddir)/octant'; export OCTANT; \
	OCTANT_SOURCE_DIR='$(abs_top_srcdir)'; export OCTANT_SOURCE_DIR; \
	SANITIZE_CFLAGS='$(SANITIZE_CFLAGS)'; export SANITIZE_CFLAGS;

dist_check_SCRIPTS += tests/cmd_bench.sh
dist_check_SCRIPTS += tests/cmd_graph.sh
dist_check_SCRIPTS += tests/cmd_model.sh
dist_check_SCRIPTS += tests/cmd_plan.sh
dist_check_SCRIPTS += tests/larger_than_memory.sh
dist_check_SCRIPTS += tests/make_model.sh
dist_check_SCRIPTS += tests/bad_input.sh
dist_check_SCRIPTS += tests/weights_cache.sh
dist_check_SCRIPTS += tests/fuzz.sh
dist_check_SCRIPTS += tests/run.sh
dist_check_SCRIPTS += tests/search.sh
dist_check_SCRIPTS += tests/resume.sh
dist_check_SCRIPTS += tests/test_quickstart.sh
EXTRA_DIST += tests/bench
EXTRA_DIST += tests/cli
dist_check_SCRIPTS += tests/calibrate.sh
dist_check_SCRIPTS += tests/simulate.sh
EXTRA_DIST += tests/test_simulate.c
EXTRA_DIST += tests/golden
EXTRA_DIST += tests/run tests/tap.sh tests/lsan.supp
EXTRA_DIST += tests/scratch.h
EXTRA_DIST += tests/graphs
