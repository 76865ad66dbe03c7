FROM continuumio/miniconda3:25.3.1-1
COPY environment.yml /tmp/environment.yml
RUN conda env create -f /tmp/environment.yml && conda clean -afy
# Make RUN commands use the new environment:
SHELL ["conda", "run", "--no-capture-output", "-n", "science", "/bin/bash", "-c"]
RUN python -c "import numpy; print(numpy.__version__)"
COPY notebooks/ /notebooks/
WORKDIR /notebooks
EXPOSE 8888
ENTRYPOINT ["conda", "run", "--no-capture-output", "-n", "science", "jupyter", "lab", "--ip=0.0.0.0"]
