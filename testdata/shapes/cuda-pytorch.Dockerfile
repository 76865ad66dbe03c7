ARG CUDA=12.8.1
ARG UBUNTU=22.04
FROM nvidia/cuda:${CUDA}-cudnn-devel-ubuntu${UBUNTU} AS build
ENV TORCH_CUDA_ARCH_LIST="7.5 8.0 8.6+PTX" FORCE_CUDA="1" MAX_JOBS=4
RUN --mount=type=cache,target=/root/.cache/pip pip3 install torch==2.7.0 --index-url https://download.pytorch.org/whl/cu128
WORKDIR /ext
COPY csrc csrc
COPY setup.py .
RUN python3 setup.py bdist_wheel

FROM nvidia/cuda:${CUDA}-cudnn-runtime-ubuntu${UBUNTU}
COPY --from=build /ext/dist/*.whl /tmp/
RUN pip3 install /tmp/*.whl && rm /tmp/*.whl
ENV LD_LIBRARY_PATH=/usr/local/cuda/lib64:$LD_LIBRARY_PATH
