# SPDX-License-Identifier: Apache-2.0
#
# libcodelets.a: the kernels of each task kind. One line a module, headers too, in alphabetical order:
# libcodelets_a_SOURCES += codelets/cpu/NAME.c codelets/NAME.h
libcodelets_a_SOURCES += codelets/codelets.h
libcodelets_a_SOURCES += codelets/cpu/attention.c codelets/cpu/attention.h
libcodelets_a_SOURCES += codelets/cpu/collective.c
libcodelets_a_SOURCES += codelets/cpu/combine.c
libcodelets_a_SOURCES += codelets/cpu/dispatch.c
libcodelets_a_SOURCES += codelets/cpu/embed.c
libcodelets_a_SOURCES += codelets/cpu/experts.c
libcodelets_a_SOURCES += codelets/cpu/gemm_bf16.c codelets/cpu/gemm_bf16.h
libcodelets_a_SOURCES += codelets/cpu/gemm_int8.c codelets/cpu/gemm_int8.h
libcodelets_a_SOURCES += codelets/cpu/gemm_int8_avx2.c
libcodelets_a_SOURCES += codelets/cpu/gemm_int8_avx512.c
libcodelets_a_SOURCES += codelets/cpu/gemm_int8_plain.c
libcodelets_a_SOURCES += codelets/cpu/gemm_pass.h
libcodelets_a_SOURCES += codelets/cpu/head.c
libcodelets_a_SOURCES += codelets/cpu/mlp.c
libcodelets_a_SOURCES += codelets/cpu/norm.c
libcodelets_a_SOURCES += codelets/cpu/qkv.c
libcodelets_a_SOURCES += codelets/cpu/reference.c
libcodelets_a_SOURCES += codelets/cpu/rope.c
libcodelets_a_SOURCES += codelets/cpu/route.c
libcodelets_a_SOURCES += codelets/cpu/rows.h
libcodelets_a_SOURCES += codelets/cpu/sample.c
libcodelets_a_SOURCES += codelets/cpu/swiglu.h
libcodelets_a_SOURCES += codelets/cpu/vector.c codelets/cpu/vector.h codelets/cpu/vector_attend.h codelets/cpu/vector_body.h
libcodelets_a_SOURCES += codelets/cpu/vector_avx2.c
libcodelets_a_SOURCES += codelets/cpu/vector_avx512.c
libcodelets_a_SOURCES += codelets/cpu/vector_plain.c
libcodelets_a_SOURCES += codelets/gemm.c codelets/gemm.h
